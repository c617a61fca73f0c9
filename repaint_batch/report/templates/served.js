// --------------------------------------------------------------------------------- the data of a page that is served

async function readRows() {
  const answer = await fetch("rows");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const PARTS = ["before", "after", "hole"];

// Where a row's picture is. Whether there is one shows when it is asked for.
function pictureOf(row, part) {
  return `${PARTS[part]}/${columns.output_sha256[row]}/${encodeURIComponent(columns.sample_id[row])}`;
}
