//! Certificates and keys, inline or in separate files.

use crate::toolkit::files::{self, MIB};
use crate::toolkit::yaml::{At, Field, NonEmpty, Parsed, Report, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A bundle of all public CA certificates has a quarter of this size.
pub const MAX_PEM_BYTES: u64 = MIB;

/// The identity of a file and its state, to detect changes: device, inode, size, modification and change time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity([u64; 3], [[i64; 2]; 2]);

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        let modified = [file.mtime(), file.mtime_nsec()];
        let changed = [file.ctime(), file.ctime_nsec()];
        let identity = [file.dev(), file.ino(), file.len()];
        Some(Self(identity, [modified, changed]))
    }
}

/// A file that was read, with its identity before it was opened; `None` if it does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    pub path: PathBuf,
    pub identity: Option<FileIdentity>,
}

pub(super) fn content(path: &Path, limit: u64, files: &mut Vec<ReadFile>) -> io::Result<Vec<u8>> {
    files.push(ReadFile {
        path: path.to_owned(),
        identity: FileIdentity::of(path),
    });
    files::read(path, limit)
}

pub(super) struct Context<'a> {
    pub(super) report: &'a Report,
    /// The directory of the file. Paths are relative to it.
    pub(super) directory: &'a Path,
    pub(super) files: &'a mut Vec<ReadFile>,
    pub(super) notes: Vec<String>,
}

impl Context<'_> {
    pub(super) fn note(&mut self, at: At, text: &str) {
        self.notes.push(format!("{}: {text}", self.report.path(at)));
    }

    /// Reads the PEM data from `inline` or from the file named by `file`. Only one of them may be set.
    pub(super) fn pem(&mut self, inline: Value<NonEmpty>, file: Value<NonEmpty>) -> Field<Pem> {
        let (bytes, at, subject) = match (inline, file) {
            (Field::Absent, Field::Absent) => return Field::Absent,
            (Field::Valid(Parsed(NonEmpty(text)), at), Field::Absent) => {
                (text.into_bytes(), at, String::new())
            }
            (Field::Absent, Field::Valid(Parsed(NonEmpty(name)), at)) => {
                let shown = self.report.quote(&name);
                match content(&self.directory.join(name), MAX_PEM_BYTES, self.files) {
                    Ok(bytes) => (bytes, at, format!("the file {shown} ")),
                    Err(error) => {
                        let text = format!("{shown} cannot be read: {error}");
                        self.report.error(at, text);
                        return Field::Invalid;
                    }
                }
            }
            (Field::Valid(_, inline), Field::Valid(_, at)) => {
                let inline = self.report.path(inline);
                let text = format!("`{inline}` is set too; allowed: only one of the two");
                self.report.error(at, text);
                return Field::Invalid;
            }
            (Field::Invalid, _) | (_, Field::Invalid) => return Field::Invalid,
        };
        let pem = Pem { bytes, at, subject };
        Field::Valid(pem, at)
    }
}

pub(super) struct Pem {
    bytes: Vec<u8>,
    pub(super) at: At,
    /// The subject of error messages: "the file `server.crt` ", or empty for inline data.
    subject: String,
}

impl Pem {
    pub(super) fn error(&self, report: &Report, reason: &str) {
        report.error(self.at, format!("{}{reason}", self.subject));
    }

    pub(super) fn certificates(&self, report: &Report) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) => self.error(report, "contains no PEM certificate"),
            Err(_) => self.error(report, "is not valid PEM"),
        }
        None
    }

    pub(super) fn private_key(&self, report: &Report) -> Option<PrivateKeyDer<'static>> {
        let key = PrivateKeyDer::from_pem_slice(&self.bytes);
        key.inspect_err(|_| self.error(report, "contains no unencrypted PEM private key"))
            .ok()
    }
}
