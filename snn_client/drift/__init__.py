"""Whether new data are like those that the champion was trained on, before anything is trained on them."""
