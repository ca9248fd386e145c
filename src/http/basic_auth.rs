//! Who a request is from, by its password. Checking one takes a tenth of a second of a core or more, on purpose: so one is checked
//! at a time, beside everything else and fairly between clients, and those that were right are remembered.

use super::hash_queue::HashQueue;
use crate::config::web::PasswordHash;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A user has one password, but bcrypt takes whatever is alike in the first 72 bytes.
const MOST_ACCEPTED: usize = 1_000;

/// Passwords that are checked, and those that were right.
#[derive(Debug)]
pub struct BasicAuth {
    /// Of this process alone, so that nobody can tell what is remembered.
    key: hmac::Key,
    verified: Arc<Mutex<VecDeque<Vec<u8>>>>,
    queue: Arc<HashQueue>,
}

/// What is known of who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthResult {
    Known,
    Unknown,
    /// Too many passwords wait to be checked.
    Busy,
}

struct Credentials {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl BasicAuth {
    /// None is remembered yet.
    ///
    /// # Errors
    /// Without a source of random numbers.
    pub fn new() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        Ok(Self {
            key,
            verified: Arc::default(),
            queue: Arc::default(),
        })
    }

    /// Who asks with these headers, from `peer`, is one of `users`, of whom there are some.
    pub async fn check(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> AuthResult {
        let Some(Credentials { user, password }) = credentials(headers) else {
            return AuthResult::Unknown;
        };
        let known = std::str::from_utf8(&user)
            .ok()
            .and_then(|user| users.get(user));
        // An unknown user costs as much as one of those that there are, always the same one: nobody can tell by the time which
        // names there are, whatever the costs of their hashes.
        let Some(hash) = known.or_else(|| self.dummy_hash(users, &user)) else {
            return AuthResult::Unknown;
        };
        let key = self.sign(&[&user, hash.expose().as_bytes(), &password]);
        if known.is_some() && lock(&self.verified).contains(&key) {
            return AuthResult::Known;
        }
        let Some(turn) = self.queue.turn(peer).await else {
            return AuthResult::Busy;
        };
        let (hash, is_known) = (hash.clone(), known.is_some());
        let verified = Arc::clone(&self.verified);
        // It ends, and is remembered, even where the client has gone: a password that takes longer than a scraper waits is
        // known by its next scrape.
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let right = bcrypt::verify(&password, hash.expose()).unwrap_or(false);
            if right && is_known {
                remember(&verified, key);
            }
            right && is_known
        });
        match checked.await {
            Ok(true) => AuthResult::Known,
            _ => AuthResult::Unknown,
        }
    }

    fn dummy_hash<'a>(
        &self,
        users: &'a BTreeMap<String, PasswordHash>,
        user: &[u8],
    ) -> Option<&'a PasswordHash> {
        let signed = self.sign(&[user]);
        let first = signed.iter().take(size_of::<usize>());
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
    let mut verified = lock(verified);
    if verified.contains(&key) {
        return;
    }
    if verified.len() >= MOST_ACCEPTED {
        verified.pop_front();
    }
    verified.push_back(key);
}

/// Of the first `Authorization`, if it is for basic auth: read as Go does.
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
