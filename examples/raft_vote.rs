//! Stores a Raft vote. It is durable when `save_vote` returns, and never replaced by an older vote.
//!
//! Run `cargo run --example raft_vote [DIR]`; the default is a temporary directory. The two methods have the form of
//! openraft's `RaftLogStorage`. Several candidates campaign concurrently. Whoever wins, the store keeps the newest
//! vote, also after a reopen.
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringbolt::{Store, Version};

const KEY: &str = "raft/vote";

/// The candidate that this node voted for, and the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vote {
    term: u64,
    node: u64,
}

struct Votes {
    store: Store,
}

/// Why `save_vote` refused a vote.
#[derive(Debug, thiserror::Error)]
enum VoteError {
    #[error("refused: a vote in term {} for node {} was given before", .0.term, .0.node)]
    Older(Vote),
    #[error(transparent)]
    Store(#[from] ringbolt::Error),
    #[error("{KEY} does not hold a vote: {0:?}")]
    Damaged(String),
    #[error("this filesystem keeps times too coarsely to compare votes")]
    NoVersions,
}

impl Votes {
    fn open(dir: &Path) -> Result<Votes, VoteError> {
        Ok(Votes { store: Store::builder(dir).create_if_missing(true).open()? })
    }

    /// When this returns `Ok`, the vote survives a power cut, and may be sent to the candidate. After an error other
    /// than `Older`, check its `outcome`: after `Unknown` the store refuses writes, and the node must reopen it and
    /// read its vote.
    async fn save_vote(&self, vote: Vote) -> Result<(), VoteError> {
        let text = format!("{} {}\n", vote.term, vote.node);
        loop {
            let saved = match self.read()? {
                None => self.store.put_new_async(KEY, text.clone()).await,
                // One vote per term. Write even an equal vote again: what can be read may not be durable yet.
                Some((kept, _)) if kept.term > vote.term || (kept.term == vote.term && kept != vote) => {
                    return Err(VoteError::Older(kept));
                }
                Some((_, version)) => self.store.put_if_async(KEY, version, text.clone()).await,
            };
            match saved {
                // Another vote was saved meanwhile, and may be newer than this one.
                Err(error) if error.is_version_mismatch() || error.is_already_exists() => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    /// The last vote, to read at startup. Before the first `save_vote` after an open, it is durable.
    async fn read_vote(&self) -> Result<Option<Vote>, VoteError> {
        Ok(self.read()?.map(|(vote, _)| vote))
    }

    fn read(&self) -> Result<Option<(Vote, Version)>, VoteError> {
        let (bytes, version) = match self.store.get_versioned(KEY) {
            Err(error) if error.is_not_found() => return Ok(None),
            result => result?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[term, node]) => Ok(Some((Vote { term, node }, version.ok_or(VoteError::NoVersions)?))),
            _ => Err(VoteError::Damaged(text.into_owned())),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let fresh = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| fresh.path().to_owned(), PathBuf::from);
    let votes = Arc::new(Votes::open(&dir)?);
    let found = votes.read_vote().await?;
    println!("found: {found:?}");
    let term = found.map_or(0, |vote| vote.term);

    let campaigns = (1..=8_u64).rev().map(|node| {
        let votes = Arc::clone(&votes);
        tokio::spawn(async move { votes.save_vote(Vote { term: term + node, node }).await })
    });
    let mut refused = 0;
    for campaign in campaigns.collect::<Vec<_>>() {
        match campaign.await? {
            Err(VoteError::Older(_)) => refused += 1,
            result => result?,
        }
    }
    println!("8 campaigns at once: {refused} refused, kept: {:?}", votes.read_vote().await?);
    for late in [Vote { term: term + 3, node: 3 }, Vote { term: term + 8, node: 9 }] {
        let error = votes.save_vote(late).await.expect_err("a newer vote is kept");
        println!("term {} for node {}: {error}", late.term, late.node);
    }

    drop(votes);
    println!("reopened: {:?}", Votes::open(&dir)?.read_vote().await?);
    Ok(())
}
