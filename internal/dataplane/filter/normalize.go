// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Normalization is what is made of a request's path before it is matched and sent on, in this order: escaped slashes,
// RFC 3986, slashes (…HttpConnectionManager: path_with_escaped_slashes_action, normalize_path, merge_slashes). The query
// is left alone, and so is the path of OPTIONS *. The zero value does nothing. Immutable.
type Normalization struct {
	Escaped      EscapedSlashes
	RFC3986      bool // normalize_path
	MergeSlashes bool
}

// EscapedSlashes says what becomes of a path with %2F or %5C.
type EscapedSlashes uint8

// The actions (…HttpConnectionManager.PathWithEscapedSlashesAction).
const (
	KeepEscaped EscapedSlashes = iota
	RejectEscaped
	UnescapeAndRedirect // the client is asked to come with the unescaped path
	UnescapeAndForward
)

// PathVerdict is what is to be done with a request after its path was looked at.
type PathVerdict uint8

// The verdicts. Of a path that is refused nothing was changed.
const (
	PathFine PathVerdict = iota
	PathMoved
	PathRefused
)

// Apply normalises the path of h. A path that needs no change is only looked at.
func (n *Normalization) Apply(h *codec.Head) PathVerdict {
	path := h.Path()
	if !n.concerns(path) || len(path) == 0 || path[0] != '/' {
		return PathFine
	}
	query, at := h.Target[len(path):], len(h.Buf)
	verdict, out := PathFine, path
	if n.Escaped != KeepEscaped && hasEscapedSlash(path) {
		switch n.Escaped {
		case RejectEscaped:
			return PathRefused
		case UnescapeAndRedirect:
			verdict = PathMoved
		}
		h.Buf = appendUnescaped(h.Buf, path)
		out = h.Buf[at:]
	}
	if n.RFC3986 {
		from := len(h.Buf)
		ok := false
		if h.Buf, ok = appendCanonical(h.Buf, out); !ok {
			h.Buf = h.Buf[:at]
			return PathRefused
		}
		out = h.Buf[from:]
	}
	if n.MergeSlashes && bytes.Contains(out, twoSlashes) {
		from := len(h.Buf)
		h.Buf = append(h.Buf, out...)
		out = mergeSlashes(h.Buf[from:])
		h.Buf = h.Buf[:from+len(out)]
	}
	if bytes.Equal(out, path) {
		h.Buf = h.Buf[:at]
		return verdict
	}
	from := len(h.Buf) - len(out) // what was made last is at the end
	h.Buf = append(h.Buf, query...)
	h.Target = h.Buf[from:len(h.Buf):len(h.Buf)]
	return verdict
}

var twoSlashes = []byte("//")

// concerns reports whether there may be something to change.
func (n *Normalization) concerns(path []byte) bool {
	if *n == (Normalization{}) {
		return false
	}
	last := byte(0)
	for _, c := range path {
		if pathBytes[c] != plainByte {
			switch {
			case c == '.' && last != '/':
			case c == '/' && (last != '/' || !n.MergeSlashes):
			default:
				return true
			}
		}
		last = c
	}
	return false
}

// byteKind is what normalisation makes of a byte in a path. RFC 3986 wants only %2e and its like decoded; that what is
// no byte of a path gets escaped, and a backslash is a slash, is what browsers do and Envoy with them.
type byteKind uint8

const (
	plainByte    byteKind = iota // stays, escaped or not
	unreserved                   // its escape is decoded (RFC 3986 §6.2.2.2)
	escapedByte                  // it gets escaped
	specialByte                  // "/", ".", "%", "\"
	forbiddenNUL                 // escaped, it cannot be normalised
)

var (
	pathBytes  [256]byteKind // by a byte as it stands
	valueBytes [256]byteKind // by what an escape stands for
)

func init() {
	for i := range pathBytes {
		switch c := byte(i); {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '~':
			valueBytes[i] = unreserved
		case c <= ' ', c >= 0x7f, bytes.IndexByte([]byte("\"#<>?^`{|}"), c) >= 0:
			pathBytes[i] = escapedByte
		}
	}
	for _, c := range []byte(`/.%\`) {
		pathBytes[c] = specialByte
	}
	valueBytes['.'] = unreserved
	valueBytes[0] = forbiddenNUL
}

// appendCanonical appends p, which begins with a slash, as Envoy's normalize_path has it: dot segments are taken out
// (RFC 3986 §5.2.4), escapes of unreserved bytes decoded, backslashes made slashes, bytes that no path has escaped.
// Other escapes stay as they are, their case too, and so does a "%" that begins none; but if decoding would make it
// begin one, it is escaped itself, so that the result means the same when it is decoded again. It is not ok if p has a
// NUL, escaped or not.
func appendCanonical(dst, p []byte) (out []byte, ok bool) {
	base, lone := len(dst), -1 // lone: where dst has the last "%" that begins no escape
	for i := 0; i < len(p); {
		c := p[i]
		if n := dotAt(p, i); n > 0 {
			if dst[len(dst)-1] == '/' {
				if end, up := dotSegment(p, i+n); end > 0 {
					if up {
						dst = parent(dst, base)
						if lone >= len(dst) {
							lone = -1
						}
					}
					i = min(end, len(p))
					continue
				}
			}
			dst = append(dst, '.')
			i += n
			continue
		}
		switch {
		case c == '\\':
			dst = append(dst, '/')
		case c == 0:
			return dst[:base], false
		case c == '%':
			v, valid := escapeAt(p, i)
			switch {
			case !valid:
				lone = len(dst)
				dst = append(dst, '%')
			case valueBytes[v] == forbiddenNUL:
				return dst[:base], false
			case valueBytes[v] == unreserved:
				dst, lone = appendDecoded(dst, v, p[i+3:], lone)
				i += 2
			default:
				dst = append(dst, p[i:i+3]...)
				i += 2
			}
		case pathBytes[c] == escapedByte:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return dst, true
}

const upperHex = "0123456789ABCDEF"

// appendDecoded appends a byte that was escaped, with rest behind it.
func appendDecoded(dst []byte, v byte, rest []byte, lone int) (out []byte, still int) {
	dst = append(dst, v)
	if lone < 0 || !isHex(dst[min(lone+1, len(dst)-1)]) {
		return dst, lone
	}
	switch len(dst) - lone {
	case 2:
		if len(rest) == 0 || !isHex(rest[0]) {
			return dst, lone
		}
		return append(dst[:lone+1], '2', '5', v), -1
	case 3:
		if !isHex(v) {
			return dst, lone
		}
		return append(dst[:lone+1], '2', '5', dst[lone+1], v), -1
	}
	return dst, lone
}

// dotAt is the length of the dot at p[i], plain or escaped, 0 if there is none.
func dotAt(p []byte, i int) int {
	switch {
	case i >= len(p):
		return 0
	case p[i] == '.':
		return 1
	case p[i] == '%' && i+2 < len(p) && p[i+1] == '2' && p[i+2]|0x20 == 'e':
		return 3
	}
	return 0
}

// dotSegment looks what follows a dot at the start of a segment: end is behind the segment's slash if it is "." or,
// which is up, "..", else 0.
func dotSegment(p []byte, i int) (end int, up bool) {
	if i == len(p) || isSlash(p[i]) {
		return i + 1, false
	}
	n := dotAt(p, i)
	if n == 0 {
		return 0, false
	}
	if i += n; i == len(p) || isSlash(p[i]) {
		return i + 1, true
	}
	return 0, false
}

// parent takes the last segment off dst, which ends with a slash; the first slash, at base, stays.
func parent(dst []byte, base int) []byte {
	if len(dst) == base+1 {
		return dst
	}
	return dst[:base+bytes.LastIndexByte(dst[base:len(dst)-1], '/')+1]
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

// escapeAt reads the escape at p[i].
func escapeAt(p []byte, i int) (v byte, ok bool) {
	if i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2]) {
		return 0, false
	}
	return digit(p[i+1])<<4 | digit(p[i+2]), true
}

func digit(c byte) byte {
	if c <= '9' {
		return c & 15
	}
	return c&15 + 9
}

// slashAt is the slash or backslash that the escape at p[i] stands for, 0 if it stands for none.
func slashAt(p []byte, i int) byte {
	if v, ok := escapeAt(p, i); ok && p[i] == '%' && isSlash(v) {
		return v
	}
	return 0
}

func hasEscapedSlash(p []byte) bool {
	for i := range p {
		if p[i] == '%' && slashAt(p, i) != 0 {
			return true
		}
	}
	return false
}

func appendUnescaped(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		if v := slashAt(p, i); v != 0 {
			dst = append(dst, v)
			i += 2
		} else {
			dst = append(dst, p[i])
		}
	}
	return dst
}

// mergeSlashes makes one of slashes that stand together, in place.
func mergeSlashes(p []byte) []byte {
	out := p[:1]
	for _, c := range p[1:] {
		if c != '/' || out[len(out)-1] != '/' {
			out = append(out, c)
		}
	}
	return out
}

// Location is the target as a Location that leads to this host: a path that begins with two slashes would be taken for
// another host's name (RFC 3986 §4.2).
func Location(h *codec.Head) []byte {
	if len(h.Target) > 1 && isSlash(h.Target[1]) {
		return h.Store([]byte("/."), h.Target)
	}
	return h.Target
}
