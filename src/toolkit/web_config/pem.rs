//! Certificates and keys, inline or in separate files.

use super::in_directory;
use crate::config::field::{Field, Reader, Section};
use crate::config::yaml::NodePath;
use crate::files::{self, MIB};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A bundle of all public CA certificates has a quarter of this size.
pub const MAX_PEM_BYTES: u64 = MIB;

/// The identity of a file and its state, to detect changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for FileIdentity {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl FileIdentity {
    /// Returns the identity of the file at `path`, if it exists.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(Self::from)
    }
}

/// A file that was read, with its identity when it was opened; `None` if it cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    pub path: PathBuf,
    pub identity: Option<FileIdentity>,
}

/// Reads the regular file at `path` and adds its identity to `files`.
pub(super) fn content(
    path: &Path,
    max_bytes: u64,
    files: &mut Vec<ReadFile>,
) -> io::Result<Vec<u8>> {
    let opened = files::open(path);
    let identity = opened.as_ref().ok().and_then(|file| file.metadata().ok());
    files.push(ReadFile {
        path: path.to_owned(),
        identity: identity
            .map(FileIdentity::from)
            .or_else(|| FileIdentity::of(path)),
    });
    files::read_to_end(opened?, max_bytes)
}

/// PEM data and its source.
pub(super) struct Pem {
    pub(super) bytes: Vec<u8>,
    /// The location of the key in the configuration.
    pub(super) at: NodePath,
    /// The subject of error messages: "the file `server.crt` ", or empty for inline data.
    pub(super) subject: String,
}

impl Reader {
    /// Reads the PEM data from the key `inline` or from the file in the key `file`. Only one of them may be set.
    pub(super) fn pem(
        &mut self,
        fields: &Section<'_>,
        [inline, file]: [&str; 2],
        directory: &Path,
        files: &mut Vec<ReadFile>,
    ) -> Field<Pem> {
        let (text, name) = (self.string_go(fields, inline), self.string_go(fields, file));
        match (text, name) {
            (Field::Absent, Field::Absent) => Field::Absent,
            (Field::Valid(text, at), Field::Absent) => Field::Valid(
                Pem {
                    bytes: text.into_bytes(),
                    at: at.clone(),
                    subject: String::new(),
                },
                at,
            ),
            (Field::Absent, Field::Valid(name, at)) => {
                match content(&in_directory(directory, &name), MAX_PEM_BYTES, files) {
                    Ok(bytes) => Field::Valid(
                        Pem {
                            bytes,
                            at: at.clone(),
                            subject: format!("the file {} ", self.quote(&name)),
                        },
                        at,
                    ),
                    Err(error) => {
                        let text = format!("{} cannot be read: {error}", self.quote(&name));
                        self.error(&at, text);
                        Field::Invalid
                    }
                }
            }
            (Field::Valid(..), Field::Valid(_, at)) => {
                let text = format!("`{inline}` is set too; allowed: only one of the two");
                self.error(&at, text);
                Field::Invalid
            }
            (Field::Invalid, _) | (_, Field::Invalid) => Field::Invalid,
        }
    }
}
