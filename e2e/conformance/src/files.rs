//! Files of one kind in a folder.

use std::path::{Path, PathBuf};

use crate::Error;

/// Those with this extension, in order of their names.
pub(crate) fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file(folder))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|known| known == extension));
    files.sort();
    Ok(files)
}
