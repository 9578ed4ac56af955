//! RTP, RTCP, telephone-event and SDP offer/answer, without a socket.
