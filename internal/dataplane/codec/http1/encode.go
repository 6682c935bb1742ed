// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"net/http"
	"strconv"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Flags say what an encoder cannot see from a Head.
type Flags uint8

const (
	// Close tells the peer that the connection ends after this message.
	Close Flags = 1 << iota
	// KeepAlive tells an HTTP/1.0 client that the connection stays, as it does not know unless told.
	KeepAlive
	// ToHead: the answer is to a HEAD request, so it has no body whatever its length.
	ToHead
	// ToHTTP10: the answer goes to an HTTP/1.0 client, which knows no chunks. A body of unknown length ends with the
	// connection; Close is implied then, and the caller writes the body bare.
	ToHTTP10
)

// ChunkEnd follows the data of a chunk, LastChunk a body without trailers.
const (
	ChunkEnd  = "\r\n"
	LastChunk = "0\r\n\r\n"
)

// AppendRequestHead appends the head of a request: Method, Target and Authority, the fields that are not removed, and
// the framing that Length stands for: chunked if negative; else Content-Length if there is a body or there was such a
// field. Of the flags only Close counts, and not with a Protocol. What h holds is written as it is: whoever put
// something there that no decoder has checked must have checked it.
func AppendRequestHead(dst []byte, h *codec.Head, f Flags) []byte {
	dst = append(append(append(append(dst, h.Method...), ' '), h.Target...), " HTTP/1.1\r\nHost: "...)
	dst = append(append(dst, h.Authority...), "\r\n"...)
	te, sized := false, h.Length > 0
	for i := range h.Fields {
		field := &h.Fields[i]
		if field.Name == nil {
			continue
		}
		if field.ID != codec.Other && field.ID <= codec.ContentLength {
			sized = sized || field.ID == codec.ContentLength
			if field.ID != codec.TE {
				continue
			}
			te = true
		}
		dst = appendField(dst, field)
	}
	switch {
	case h.Length < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case sized:
		dst = appendLength(dst, h.Length)
	}
	switch { // TE is for one connection and must be named: RFC 9110 §10.1.4
	case h.Protocol != nil:
		dst = appendUpgrade(dst, h.Protocol, te)
	case te && f&Close != 0:
		dst = append(dst, "Connection: close, TE\r\n"...)
	case te:
		dst = append(dst, "Connection: TE\r\n"...)
	case f&Close != 0:
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// AppendResponseHead appends the head of an answer, final or interim: status, the fields that are not removed, and the
// framing that Length stands for, unless the status or ToHead exclude a body (RFC 9110 §8.6). A nil Reason is
// the status's usual one. See AppendRequestHead for what h may hold.
func AppendResponseHead(dst []byte, h *codec.Head, f Flags) []byte {
	dst = append(strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(h.Status), 10), ' ')
	if h.Reason != nil {
		dst = append(dst, h.Reason...)
	} else {
		dst = append(dst, http.StatusText(h.Status)...)
	}
	dst = append(dst, "\r\n"...)
	var told []byte // the Content-Length as received
	for i := range h.Fields {
		field := &h.Fields[i]
		if field.Name == nil {
			continue
		}
		if field.ID == codec.ContentLength {
			told = field.Value
		}
		if field.ID == codec.ContentLength || field.ID.HopByHop() {
			continue
		}
		dst = appendField(dst, field)
	}
	switch {
	case h.Status < 200 || h.Status == 204:
	case f&ToHead != 0 || h.Status == 304: // the length that a body would have
		if told != nil {
			dst = append(append(append(dst, "Content-Length: "...), told...), "\r\n"...)
		} else if h.Length > 0 {
			dst = appendLength(dst, h.Length)
		}
	case h.Length >= 0:
		dst = appendLength(dst, h.Length)
	case f&ToHTTP10 != 0:
		f |= Close
	default:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case h.Protocol != nil:
		dst = appendUpgrade(dst, h.Protocol, false)
	case f&Close != 0:
		dst = append(dst, "Connection: close\r\n"...)
	case f&KeepAlive != 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendUpgrade appends the fields that ask for another protocol, or agree to it (RFC 9110 §7.8).
func appendUpgrade(dst, protocol []byte, te bool) []byte {
	if te {
		dst = append(dst, "Connection: Upgrade, TE\r\nUpgrade: "...)
	} else {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
	}
	return append(append(dst, protocol...), "\r\n"...)
}

// AppendChunkHead appends what precedes n bytes of a chunk; n must not be 0. ChunkEnd goes behind the bytes.
func AppendChunkHead(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

// AppendTrailers appends the end of a chunked body with its trailer fields; without any it is LastChunk.
func AppendTrailers(dst []byte, fields []codec.Field) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range fields {
		if fields[i].Name != nil {
			dst = appendField(dst, &fields[i])
		}
	}
	return append(dst, "\r\n"...)
}

func appendField(dst []byte, f *codec.Field) []byte {
	return append(append(append(append(dst, f.Name...), ": "...), f.Value...), "\r\n"...)
}

func appendLength(dst []byte, n int64) []byte {
	return append(strconv.AppendInt(append(dst, "Content-Length: "...), n, 10), "\r\n"...)
}
