//! A file of checked blocks as one stretch of bytes, any part of which is read and checked by itself. Knows no content.
