// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/hex"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Read returns the context that h carries in the first of the formats that has a well-formed one; one that is malformed
// counts as absent, as if the trace began here.
func Read(h *codec.Head, f Formats) (c Context) {
	if f&W3C != 0 {
		if v, ok := only(h, codec.TraceParent); ok && c.parseParent(v) {
			return c
		}
	}
	if f&B3Single != 0 {
		if v, ok := only(h, codec.B3); ok && c.parseB3(v) {
			return c
		}
	}
	if f&B3 != 0 && c.parseB3Fields(h) {
		return c
	}
	return Context{}
}

// Write makes h carry the context in each of the formats. A tracestate stays, if it belongs to the same trace: kept
// says so. What is written lives in h.Buf.
func Write(h *codec.Head, f Formats, c *Context, kept bool) {
	flag := byte('0')
	if c.Sampled {
		flag = '1'
	}
	var id [32]byte
	var span [16]byte
	hex.Encode(id[:], c.Trace[:])
	hex.Encode(span[:], c.Span[:])
	if f&W3C != 0 {
		h.Set(codec.TraceParent, h.Store([]byte("00-"), id[:], []byte("-"), span[:], []byte{'-', '0', flag}))
		if !kept {
			h.Del(codec.TraceState)
		}
	}
	if f&(B3|B3Single) == 0 {
		return
	}
	short := id[:] // 64 bits, if the trace began so
	if string(id[:16]) == "0000000000000000" {
		short = id[16:]
	}
	if f&B3Single != 0 {
		h.Set(codec.B3, h.Store(short, []byte("-"), span[:], []byte{'-', flag}))
	}
	if f&B3 != 0 {
		h.Set(codec.B3TraceID, h.Store(short))
		h.Set(codec.B3SpanID, h.Store(span[:]))
		h.Set(codec.B3Sampled, h.Store([]byte{flag}))
		h.Del(codec.B3Flags)
		h.Del(codec.B3ParentSpanID)
	}
}

// only returns a field's value if there is exactly one: of two contexts neither can be believed.
func only(h *codec.Head, id codec.FieldID) (value []byte, ok bool) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == id && f.Name != nil {
			if ok {
				return nil, false
			}
			value, ok = f.Value, true
		}
	}
	return value, ok
}

// parseParent reads a traceparent (W3C Trace Context §3.2). Versions to come may be longer.
func (c *Context) parseParent(v []byte) bool {
	var version, flags [1]byte
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	if !unhex(version[:], v[:2]) || !unhex(c.Trace[:], v[3:35]) || !unhex(c.Span[:], v[36:52]) ||
		!unhex(flags[:], v[53:55]) {
		return false
	}
	if version[0] == 0xff || version[0] == 0 && len(v) != 55 || len(v) > 55 && v[55] != '-' {
		return false
	}
	c.Sampled, c.Deferred = flags[0]&1 != 0, false
	return c.Valid()
}

// parseB3 reads a b3 field: trace-span[-sampled[-parent]]. The decision alone ("0") is no context.
func (c *Context) parseB3(v []byte) bool {
	id, rest, ok := bytes.Cut(v, []byte("-"))
	if !ok || !c.b3ID(id) {
		return false
	}
	span, rest, more := bytes.Cut(rest, []byte("-"))
	if !unhex(c.Span[:], span) {
		return false
	}
	c.Sampled, c.Deferred = false, true
	if more {
		flag, parent, parented := bytes.Cut(rest, []byte("-"))
		var p SpanID
		if parented && !unhex(p[:], parent) || !c.b3Flag(flag) {
			return false
		}
	}
	return c.Valid()
}

func (c *Context) parseB3Fields(h *codec.Head) bool {
	id, ok := only(h, codec.B3TraceID)
	span, also := only(h, codec.B3SpanID)
	if !ok || !also || !c.b3ID(id) || !unhex(c.Span[:], span) {
		return false
	}
	c.Sampled, c.Deferred = false, true
	if v, ok := only(h, codec.B3Flags); ok && string(v) == "1" {
		c.b3Flag([]byte("d"))
	} else if v, ok := only(h, codec.B3Sampled); ok && !c.b3Flag(v) {
		return false
	}
	return c.Valid()
}

// b3ID reads a trace id of 128 or 64 bits.
func (c *Context) b3ID(v []byte) bool {
	if len(v) == 16 {
		c.Trace = ID{}
		return unhex(c.Trace[8:], v)
	}
	return unhex(c.Trace[:], v)
}

// b3Flag reads a sampling decision; d asks for the trace by all means.
func (c *Context) b3Flag(v []byte) bool {
	switch string(v) {
	case "1", "d", "true":
		c.Sampled, c.Deferred = true, false
	case "0", "false":
		c.Sampled, c.Deferred = false, false
	default:
		return false
	}
	return true
}

// unhex fills dst from as many digits as that takes, in lower case.
func unhex(dst, digits []byte) bool {
	if len(digits) != 2*len(dst) {
		return false
	}
	for i := range dst {
		a, b := digit(digits[2*i]), digit(digits[2*i+1])
		if a > 15 || b > 15 {
			return false
		}
		dst[i] = a<<4 | b
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
