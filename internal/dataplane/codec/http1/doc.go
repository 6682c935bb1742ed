// SPDX-License-Identifier: Apache-2.0

// Package http1 turns HTTP/1.1 bytes into events and heads into bytes (RFC 9112), strictly: what two parsers could read
// in two ways is an error. It does no I/O, knows no connection and no clock, and decides nothing about a request.
//
// A decoder is pushed: its caller hands it whatever bytes came, and it answers with the next event and how many of them
// it used. It holds no bytes of its own but those of a trailer section: a head, whole or partial, lies in the Head's
// Buf, which the caller owns, and body bytes are slices of what the caller passed. The result never depends on how
// the bytes were cut into reads.
//
// # What is refused
//
// Bare CR, bare LF, NUL and other controls anywhere; whitespace before a colon, line folding, empty or odd names;
// Content-Length beside Transfer-Encoding, repeated or not a plain number; any transfer coding but one chunked; a Host
// that is missing, repeated or no host; a target that is not what its method may have. A "%" that begins no escape is no
// matter of framing and stays.
//
// # Hop-by-hop fields
//
// Fields that concern one connection (RFC 9110 §7.6.1) and those that Connection names are marked removed. Connection
// cannot remove what proxies rely on: Host, Content-Length, X-Request-Id and every X-Forwarded-, X-Envoy- and X-Umbra-
// field stay when it names them, so that a client cannot strip what a proxy before us has added. TE is reduced to
// "trailers". Upgrade is noted and removed; it is for the caller to ask for a protocol of its own (Head.Protocol) or to
// let the request go on without (RFC 9110 §7.8). With HEAD it is removed and no more.
package http1

// Event is what a decoder met.
type Event uint8

// Events, in the order in which a message has them.
const (
	More     Event = iota // all bytes were used and more are needed
	HeadDone              // the Head is filled; its Buf, Fields and slices are the caller's from here on
	Data                  // Body returns some bytes of the body, at least one
	End                   // the message is complete; Trailers returns what came after the body
)

// Limits that a decoder's zero fields stand for, and limits that are not settings.
const (
	DefaultMaxHead   = 60 << 10 // bytes of a head with its first line and its empty line
	DefaultMaxFields = 100      // fields of a head
	MaxTrailers      = 64 << 10 // bytes of a trailer section
	MaxTrailerFields = 100      // fields of a trailer section, those that are dropped included
	MaxInterim       = 10       // interim answers (1xx) before the final one
	MaxChunkLine     = 4 << 10  // bytes of a chunk-size line with its extensions and its CRLF: fewer than this
	MaxChunkExcess   = 16 << 10 // bytes of chunk framing beyond 16 a chunk and twice the data
	MaxConnection    = 64       // elements of a message's Connection fields
)
