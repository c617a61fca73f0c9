"""The command that lets people decide: review."""

from typing import Annotated

import typer
from rich.markup import escape

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import console
from repaint_batch.outputs.reviews import count_verdicts


def review(
    output: OutputUri,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Accept, reject or redo pictures, and correct their masks, in a browser, until Ctrl-C.

    Decisions go to the output, into the table `reviews` beside the results, and corrected masks beside those that were found.
    Afterwards `retry-failed --rejected` runs the redos and `export --accepted` takes what is good. On another machine:
    ssh -L 8765:127.0.0.1:8765 HOST, and --port 8765.

    Example: repaint-batch review ./restored
    """
    # Pictures and templates take half a second to import.
    from repaint_batch.apart import Apart
    from repaint_batch.review.desk import Desk
    from repaint_batch.review.server import ReviewServer

    storage = reached(output, endpoint_url, region)
    with Apart() as apart, ReviewServer(desk := Desk(output, storage, apart), port) as server:
        console.print(f"open {escape(server.url)} in a browser; Ctrl-C ends the review")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()
    desk.tidy()
    counts = count_verdicts(output, storage)
    console.print(f"{counts['accept']:,} accepted, {counts['reject']:,} rejected, {counts['redo']:,} to redo")
    if counts["redo"]:
        console.print(f"`repaint-batch retry-failed {escape(output)} --rejected` runs the redos")
    if counts["accept"]:
        console.print(f"`repaint-batch export {escape(output)} --accepted --to FOLDER` takes the accepted ones")
