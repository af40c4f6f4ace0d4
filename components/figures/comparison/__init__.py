"""What runs differ in: the numbers, the sentence, the page."""
