//! What takes long to make is made once, and kept by what it was made from.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Error;

/// A directory that is made once.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where it is kept.
    pub dir: PathBuf,
    /// What it is; a part of its path.
    pub name: String,
    /// What it is made from: another key is another directory.
    pub key: String,
}

impl Kept {
    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.dir.join(format!("{}-{}", self.name, self.key))
    }

    /// Its path, once it is there. `make` fills the directory that it is given; one process does so at a time, and a
    /// directory of the final name is never half made.
    pub fn ensure<E: From<Error>>(
        &self,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let done = self.path();
        if done.is_dir() {
            return Ok(done);
        }
        fs::create_dir_all(&self.dir).map_err(Error::file("create", &self.dir))?;
        let _making = lock(&self.dir.join("build.lock"))?;
        if done.is_dir() {
            return Ok(done); // made by whoever held the lock
        }
        let partial = done.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::file("remove", &partial))?;
        }
        fs::create_dir_all(&partial).map_err(Error::file("create", &partial))?;
        make(&partial)?;
        fs::rename(&partial, &done).map_err(Error::file("rename", &partial))?;
        Ok(done)
    }
}

/// Waits for the lock and holds it until the file is dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::file("create", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            anstream::eprintln!("waiting for another process that builds the same");
        }
        Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
    }
    file.lock().map_err(Error::file("lock", path))?;
    Ok(file)
}

/// A key of all that is added to it, in its order.
#[derive(Debug, Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds something.
    pub fn add(&mut self, part: impl AsRef<[u8]>) {
        self.0.update(part);
        self.0.update([0]);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.0.clone().finalize();
        sum.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn kept(dir: &Path, key: &str) -> Kept {
        Kept { dir: dir.to_owned(), name: "thing".to_owned(), key: key.to_owned() }
    }

    fn fills(into: &Path) -> Result<(), Error> {
        fs::write(into.join("part"), "whole").map_err(Error::file("write", into))
    }

    #[test]
    fn it_is_made_once_for_each_key_and_never_half() {
        let dir = std::env::temp_dir().join(format!("rerail-kept-{}", std::process::id()));
        let first = kept(&dir, "a");
        let fails = first.ensure(|into| {
            fills(into)?;
            Err(Error::file("write", into)(io::Error::other("full")))
        });
        assert!(fails.is_err() && !first.path().exists());
        let made = first.ensure(|into| {
            assert!(!into.join("part").exists(), "nothing is left of what failed");
            fills(into)
        });
        assert_eq!(fs::read_to_string(made.unwrap().join("part")).unwrap(), "whole");
        let again = first.ensure(|_| -> Result<(), Error> { panic!("made twice") });
        assert_eq!(again.unwrap(), first.path());
        assert_ne!(kept(&dir, "b").ensure(fills).unwrap(), first.path());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_key_changes_with_each_part_and_where_one_ends() {
        let key = |parts: &[&str]| {
            let mut key = Key::default();
            parts.iter().for_each(|part| key.add(part));
            key.to_string()
        };
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_eq!(key(&[]).len(), 16);
    }
}
