"""What pictures are drawn with: colours, charts as SVG, templates of the page."""
