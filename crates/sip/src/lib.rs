//! SIP messages, transactions and dialogs, without a socket.
