//! Channels as logs, subscribers as cursors.
