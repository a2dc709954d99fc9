"""What became of a job: the verdict, JSON, a list of the images, and a page with pictures."""
