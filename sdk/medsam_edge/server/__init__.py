"""Images and prompts come by HTTP, masks go back: REST for pages and programs, nnInteractive's protocol for viewers."""
