// --------------------------------------------------------------------------------- the data of a page that is served

async function readRows() {
  const answer = await fetch("rows");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const PARTS = ["before", "after", "hole"];

const addressOf = (row) => `${columns.output_sha256[row]}/${encodeURIComponent(columns.sample_id[row])}`;

// Where a row's small picture is. Whether there is one shows when it is asked for.
const pictureOf = (row, part) => `${PARTS[part]}/${addressOf(row)}`;
