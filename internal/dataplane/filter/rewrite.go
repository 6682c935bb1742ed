// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"regexp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Apply rewrites the request's authority and then its path, and puts what was there before into x-envoy-original-host
// and x-envoy-original-path. Regular expressions look at the path without its query. r may be nil. Only regular
// expressions allocate.
//
// The path comes out as a target that can be sent: it starts with '/', and spaces and control bytes of the
// configuration are percent-encoded, where Envoy sends them as they are.
func (r *Rewrite) Apply(h *codec.Head) {
	if r == nil {
		return
	}
	if host := r.host(h); len(host) > 0 {
		RewriteHost(h, host, r.AppendForwardedHost)
	}
	r.path(h, false)
}

func (r *Rewrite) host(h *codec.Head) []byte {
	switch {
	case r.Host != "":
		at := len(h.Buf)
		h.Buf = appendTarget(h.Buf, r.Host)
		return h.Buf[at:len(h.Buf):len(h.Buf)]
	case r.HostHeader != "":
		v, _ := (*view)(h).Lookup(r.HostHeader)
		at := len(h.Buf)
		h.Buf = appendTarget(h.Buf, v) // a field's value may have more in it than a host
		return h.Buf[at:len(h.Buf):len(h.Buf)]
	case r.HostPath != nil:
		at := len(h.Buf)
		h.Buf = appendReplaced(h.Buf, r.HostPath, cutQuery(h.Target), r.HostSub)
		return h.Buf[at:len(h.Buf):len(h.Buf)]
	}
	return nil
}

// path replaces the path. With keepIfEmpty an expression that leaves nothing changes nothing, as in redirects.
func (r *Rewrite) path(h *codec.Head, keepIfEmpty bool) {
	old, path := h.Target, cutQuery(h.Target)
	var from, rest []byte // what replaces the path's beginning, and what is left of it
	switch {
	case r.HasPrefix && r.Prefix != "":
		n := len(path)
		if r.Match == MatchPrefix {
			n = min(max(r.MatchLen, 0), n)
		}
		from, rest = store(h, r.Prefix), path[n:]
	case r.Regex != nil:
		at := len(h.Buf)
		h.Buf = appendReplaced(h.Buf, r.Regex, path, r.Sub)
		if from, rest = h.Buf[at:], nil; len(from) == 0 && keepIfEmpty {
			return
		}
	default:
		return
	}
	at := len(h.Buf)
	if len(from) == 0 || from[0] != '/' {
		h.Buf = append(h.Buf, '/')
	}
	h.Buf = appendTarget(h.Buf, from)
	h.Buf = append(append(h.Buf, rest...), old[len(path):]...)
	h.Set(codec.EnvoyOriginalPath, old)
	h.Target = h.Buf[at:len(h.Buf):len(h.Buf)]
}

// RewriteHost makes host the request's authority; it must live as long as the message. The former one goes to
// x-envoy-original-host and, if forwarded is set, behind what x-forwarded-host has, unless it stands there last.
func RewriteHost(h *codec.Head, host []byte, forwarded bool) {
	if old := h.Authority; len(old) > 0 {
		h.Set(codec.EnvoyOriginalHost, old)
		if forwarded {
			appendForwardedHost(h, old)
		}
	}
	h.Authority = host
}

var forwardedHost = newName("x-forwarded-host")

func appendForwardedHost(h *codec.Head, host []byte) {
	at := len(h.Buf)
	for i := range h.Fields {
		if f := &h.Fields[i]; forwardedHost.is(f) && len(f.Value) > 0 {
			h.Buf = append(append(h.Buf, f.Value...), ',')
		}
	}
	if list := h.Buf[at:]; len(list) > 0 {
		if last := list[bytes.LastIndexByte(list[:len(list)-1], ',')+1 : len(list)-1]; bytes.Equal(last, host) {
			h.Buf = h.Buf[:at]
			return
		}
	}
	h.Buf = append(h.Buf, host...)
	forwardedHost.overwrite(h, h.Buf[at:len(h.Buf):len(h.Buf)])
}

// appendReplaced appends b with every match of re replaced by sub, in which \0 to \9 stand for groups and \\ for a
// backslash. A group that the expression does not have is nothing.
func appendReplaced(dst []byte, re *regexp.Regexp, b []byte, sub string) []byte {
	from := 0
	for _, m := range re.FindAllSubmatchIndex(b, -1) {
		dst = append(dst, b[from:m[0]]...)
		for i := 0; i < len(sub); i++ {
			c := sub[i]
			if c == '\\' && i+1 < len(sub) {
				i++
				if c = sub[i]; '0' <= c && c <= '9' {
					if g := 2 * int(c-'0'); g < len(m) && m[g] >= 0 {
						dst = append(dst, b[m[g]:m[g+1]]...)
					}
					continue
				}
			}
			dst = appendTarget(dst, sub[i:i+1])
		}
		from = m[1]
	}
	return append(dst, b[from:]...)
}

// Encoded is a host of the configuration as it can be sent.
func Encoded(host string) string { return string(appendTarget(nil, host)) }

// appendTarget appends text of the configuration so that it cannot end a request's target or a line (RFC 3986 §2.1).
func appendTarget[T string | []byte](dst []byte, text T) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		if c <= ' ' || c == 0x7f {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// cutQuery is the target up to its query, or up to a fragment that should not be there.
func cutQuery(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		return target[:i]
	}
	return target
}

// store copies text into memory of the head.
func store(h *codec.Head, text string) []byte {
	at := len(h.Buf)
	h.Buf = append(h.Buf, text...)
	return h.Buf[at:len(h.Buf):len(h.Buf)]
}
