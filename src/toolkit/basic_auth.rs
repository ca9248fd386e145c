//! Basic auth. A bcrypt check takes 100 ms of CPU time or more by design. So passwords are checked one at a time on a blocking
//! thread, in an order that is fair between clients, and correct passwords are remembered.

use super::hash_queue::HashQueue;
use crate::toolkit::web_config::PasswordHash;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// A user can have many accepted passwords, because bcrypt compares only the first 72 bytes.
const MAX_VERIFIED: usize = 1_000;

/// Checks passwords and remembers the correct ones.
#[derive(Debug)]
pub struct BasicAuth {
    /// A random key of this process. It keeps passwords out of memory, and clients cannot predict the choice of the dummy hash.
    key: hmac::Key,
    verified: Arc<Mutex<VecDeque<Vec<u8>>>>,
    queue: Arc<HashQueue>,
}

/// The result of checking the credentials of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthResult {
    Authenticated,
    Unauthenticated,
    /// Too many passwords are waiting to be checked.
    Busy,
}

struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl BasicAuth {
    /// Starts without remembered passwords.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub fn new() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        Ok(Self {
            key,
            verified: Arc::default(),
            queue: Arc::default(),
        })
    }

    /// Checks whether a request from `peer` has the credentials of one of `users`, which must not be empty.
    pub async fn check(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> AuthResult {
        let Some(Credentials { user, password }) = credentials(headers) else {
            return AuthResult::Unauthenticated;
        };
        let known_hash = std::str::from_utf8(&user)
            .ok()
            .and_then(|user| users.get(user));
        // For an unknown user the hash of a known user is checked, always the same one for the same name. So the response time does
        // not reveal which users exist, even if their hashes have different costs.
        let Some(hash) = known_hash.or_else(|| self.dummy_hash(users, &user)) else {
            return AuthResult::Unauthenticated;
        };
        let key = self.sign(&[&user, hash.expose().as_bytes(), &password]);
        if known_hash.is_some() && self.verified.lock().contains(&key) {
            return AuthResult::Authenticated;
        }
        let Some(permit) = self.queue.acquire(peer).await else {
            return AuthResult::Busy;
        };
        let (hash, is_known) = (hash.clone(), known_hash.is_some());
        let verified = Arc::clone(&self.verified);
        // The check finishes even if the client has disconnected. So if a check takes longer than the scrape timeout, the next
        // scrape finds the password remembered.
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let is_correct = bcrypt::verify(&password, hash.expose()).unwrap_or(false);
            if is_correct && is_known {
                remember(&verified, key);
            }
            is_correct && is_known
        });
        match checked.await {
            Ok(true) => AuthResult::Authenticated,
            _ => AuthResult::Unauthenticated,
        }
    }

    /// Returns a hash to check for an unknown user. The name of the user decides which one.
    fn dummy_hash<'a>(
        &self,
        users: &'a BTreeMap<String, PasswordHash>,
        user: &[u8],
    ) -> Option<&'a PasswordHash> {
        let signature = self.sign(&[user]);
        let first = signature.iter().take(size_of::<usize>());
        let number = first.fold(0, |number: usize, byte| (number << 8) | usize::from(*byte));
        users.values().nth(number.checked_rem(users.len())?)
    }

    fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }
}

fn remember(verified: &Mutex<VecDeque<Vec<u8>>>, key: Vec<u8>) {
    let mut verified = verified.lock();
    if verified.contains(&key) {
        return;
    }
    if verified.len() >= MAX_VERIFIED {
        verified.pop_front();
    }
    verified.push_back(key);
}

/// Parses the first `Authorization` header, if it is for basic auth, with the rules of Go's net/http.
fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(Credentials {
        user: decoded[..colon].to_vec(),
        password: decoded[colon + 1..].to_vec(),
    })
}
