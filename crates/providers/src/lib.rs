//! Recognizers, synthesizers, chat models and realtime models: one file a vendor.
