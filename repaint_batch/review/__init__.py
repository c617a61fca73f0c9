"""Pictures looked at and decided about, one by one, in a browser; and masks that are corrected there.

``repaint-batch review OUTPUT`` serves one page on this machine. Every picture can be looked at pixel by pixel, before and after
at the same place: wheel, pinch, ``+``, ``-``, ``0`` and ``1`` zoom, ``H`` goes to the next mark of the hole, ``V`` shows before
and after in turn. ``A`` accepts, ``X`` rejects, ``R`` asks for a redo with another seed or preset, ``U`` takes back.

Where the mask is what is wrong, since a scratch was missed or a highlight was taken for dust, ``E`` corrects it: a brush, an
eraser and a line at any zoom, with mouse, pen, finger or keyboard (arrows move the pen, Space sets it down and lifts it, ``[``
and ``]`` change its size), ``U`` takes strokes back, and ``R`` asks for a redo with the mask as it is now. Then
``repaint-batch retry-failed OUTPUT --rejected`` restores those pictures by their corrected masks, white = hole, exactly as
drawn: the job's ``images.hole`` and ``images.mask_grow_px`` do not touch them. A corrected mask is kept at
``OUTPUT/masks/corrected/HASH OF THE PICTURE/HASH OF THE MASK.png``, and the redone row's ``mask_uri`` names it; the mask before
it stays where it was. A picture that has changed since it was looked at is not redone. Rows that were skipped, because nothing
was found or their mask is empty, can be given one too; pictures of several pages cannot.
"""
