// SPDX-License-Identifier: Apache-2.0

// Package codec holds what HTTP/1 and HTTP/2 codecs have in common: the head of a message, its fields, and the error a
// decoder ends with. It does no I/O and knows no connection.
package codec

import "bytes"

// Head is the head of one request or answer. It is reused from message to message by its owner (a stream, an upstream
// exchange); every slice in it points into Buf or into memory that outlives the message. Decoders fill it, filters
// change it (Del, Set, Add), encoders render it.
type Head struct {
	Buf []byte // the head as received, then room for values that filters store

	// Request line (RFC 9112 §3). Target is what is sent on: origin-form, absolute-form already split into Authority
	// and path, "*" for OPTIONS. Authority is the Host field's value, or the absolute target's, which wins
	// (RFC 9112 §3.2.2); empty only with HTTP/1.0.
	Method    []byte
	Target    []byte
	Authority []byte
	IsHead    bool // method HEAD

	// Status line (RFC 9112 §4).
	Status int
	Reason []byte

	Minor  int // HTTP/1.Minor of the peer
	Fields []Field

	// Framing (RFC 9112 §6). Length is the body's length, 0 for none, -1 when it is not known before its end.
	Length int64
	// Close: the connection ends after this message (RFC 9112 §9.6), told by Connection or by the version.
	Close bool
	// KeepAlive: Connection named keep-alive. An HTTP/1.0 client that is kept wants it said in the answer too.
	KeepAlive bool
	// ExpectContinue: the client waits for 100 before it sends the body (RFC 9110 §10.1.1). False without a body.
	ExpectContinue bool
	// Upgrade: an Upgrade field was there and named in Connection. The field itself is marked removed, as all hop-by-hop
	// fields are.
	Upgrade bool
	// Protocol is what the connection is to be used for after this message (RFC 9110 §7.8), nil: HTTP. Decoders leave it
	// empty; encoders write it as Upgrade, named in Connection.
	Protocol []byte
}

// Field is one header field. Name keeps its case. ID is set for names the proxy acts on.
type Field struct {
	ID    FieldID
	Name  []byte // nil: removed
	Value []byte // without surrounding whitespace
}

// Path is Target without its query.
func (h *Head) Path() []byte {
	if i := bytes.IndexByte(h.Target, '?'); i >= 0 {
		return h.Target[:i]
	}
	return h.Target
}

// Reset empties h for the next message and keeps its memory, unless that grew past 8 KiB.
func (h *Head) Reset() {
	buf, fields := h.Buf[:0], h.Fields[:0]
	if cap(buf) > 8<<10 {
		buf = nil
		clear(h.Fields) // which lie in it
	}
	if cap(fields) > 128 {
		fields = nil
	}
	*h = Head{Buf: buf, Fields: fields}
}

// Get returns the value of the first field with that id, nil if there is none.
func (h *Head) Get(id FieldID) []byte {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == id && f.Name != nil {
			return f.Value
		}
	}
	return nil
}

// Lookup returns the value of the first field of that lower-case name.
func (h *Head) Lookup(name string) (value []byte, ok bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Name != nil && EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return nil, false
}

// Del removes every field with that id.
func (h *Head) Del(id FieldID) {
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			h.Fields[i].Name = nil
		}
	}
}

// Set replaces all fields of that id by one. The value must live as long as the message; see Store.
func (h *Head) Set(id FieldID, value []byte) {
	h.Del(id)
	h.Fields = append(h.Fields, Field{ID: id, Name: id.Name(), Value: value})
}

// Store copies p into Buf and returns the copy, which lives as long as the message.
func (h *Head) Store(p ...[]byte) []byte {
	at := len(h.Buf)
	for _, b := range p {
		h.Buf = append(h.Buf, b...) // slices into an older Buf stay valid: the collector keeps it
	}
	return h.Buf[at:len(h.Buf):len(h.Buf)]
}

// EqualFold compares a field name with a lower-case name, ASCII case folded.
func EqualFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Error ends a connection's decoding. Status is what a client is told when the fault is in its request.
type Error struct {
	Status int    // 400, 431, 501, 505
	Detail string // Envoy's response code detail, e.g. http1.codec_error
	Reason string // for the log: what was wrong
}

func (e *Error) Error() string { return e.Reason }
