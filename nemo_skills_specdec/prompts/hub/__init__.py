"""Reading data sets over HTTP: the Hugging Face hub and plain files, a few bytes at a time, resumable and cached."""
