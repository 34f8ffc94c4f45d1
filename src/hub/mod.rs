//! Where weights come from: names, files, downloads.
