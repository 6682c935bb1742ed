// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"math"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

var trailers = []byte("trailers")

// contentLength takes in a Content-Length field: one, of digits only (RFC 9112 §6.3).
func (d *head) contentLength(v []byte) *codec.Error {
	if d.lengths > 1 {
		return malformed(detailCodec, "two content-length fields", nil)
	}
	if len(v) == 0 {
		return malformed(detailCodec, "empty content-length", nil)
	}
	for _, c := range v {
		digit := int64(c - '0')
		if class[c]&inDigit == 0 || d.length > (math.MaxInt64-digit)/10 {
			return malformed(detailCodec, "content-length %q", v)
		}
		d.length = d.length*10 + digit
	}
	return nil
}

// transferEncoding takes in a Transfer-Encoding field. A coding we do not know before a last "chunked" is 501
// (RFC 9112 §6.1), all else but "chunked" alone is a fault (RFC 9112 §6.3).
func (d *head) transferEncoding(v []byte) *codec.Error {
	if d.codings > 1 {
		return malformed(detailCoding, "two transfer-encoding fields", nil)
	}
	if d.chunked = fold(v, []byte("chunked")); d.chunked {
		return nil
	}
	status := 400
	unknown := false
	for list := v; len(list) > 0; {
		var coding []byte
		coding, list = element(list)
		last := fold(coding, []byte("chunked"))
		if len(coding) == 0 || last && len(list) > 0 {
			break
		}
		if last && unknown {
			status = 501
		}
		unknown = true
	}
	return fault(status, detailCoding, "transfer-encoding %q", v)
}

// reduceTE leaves of the TE fields at most one, with "trailers" (RFC 9110 §10.1.4). Answers have none, and HTTP/1.0
// knows no trailers.
func (d *head) reduceTE(f *codec.Field) {
	for list := f.Value; !d.answer && !d.te && d.h.Minor > 0 && len(list) > 0; {
		var coding []byte
		coding, list = element(list)
		if fold(coding, trailers) {
			d.te = true
			f.Value = trailers
			return
		}
	}
	f.Name = nil
}

// connection takes in a Connection field (RFC 9110 §7.6.1).
func (d *head) connection(list []byte) *codec.Error {
	for len(list) > 0 {
		var option []byte
		option, list = element(list)
		if d.elements++; d.elements > MaxConnection {
			return malformed(detailConnection, "connection names too much", nil)
		}
		switch {
		case fold(option, []byte("close")):
			d.closes = true
		case fold(option, []byte("keep-alive")):
			d.keeps = true
		case fold(option, []byte("upgrade")):
			d.namesUpgrade = true
		case len(option) > 0:
			d.nominates = true
		}
	}
	return nil
}

// removeNominated removes the fields that the Connection fields name.
func (d *head) removeNominated() {
	fields := d.h.Fields
	for i := range fields {
		if fields[i].ID != codec.Connection {
			continue
		}
		for list := fields[i].Value; len(list) > 0; {
			var option []byte
			option, list = element(list)
			if id := codec.Identify(option); id == codec.TE || protected(option, id) {
				continue
			}
			for j := range fields {
				if f := &fields[j]; f.Name != nil && fold(f.Name, option) {
					f.Name = nil
				}
			}
		}
	}
}

// protected reports whether a field is none of those that a peer can have removed by naming it in Connection.
func protected(name []byte, id codec.FieldID) bool {
	switch id {
	case codec.Host, codec.ContentLength, codec.RequestID:
		return true
	}
	return hasPrefix(name, "x-forwarded-") || hasPrefix(name, "x-envoy-") || hasPrefix(name, "x-umbra-")
}

func hasPrefix(name []byte, lower string) bool {
	return len(name) >= len(lower) && codec.EqualFold(name[:len(lower)], lower)
}

// notInTrailers are the fields that are dropped from a trailer section because a recipient that merged them into the
// head would frame, route, authenticate or process the message differently (RFC 9110 §6.5.1), besides the hop-by-hop
// fields and those that proxies rely on.
var notInTrailers = []string{
	"age", "authorization", "cache-control", "content-encoding", "content-range", "cookie", "expires", "location",
	"max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "retry-after", "set-cookie", "vary",
	"www-authenticate",
}

func allowedInTrailers(name []byte, id codec.FieldID) bool {
	switch id {
	case codec.Expect, codec.Trailer, codec.ContentType, codec.Date, codec.Server:
		return false
	}
	if id.HopByHop() || protected(name, id) || hasPrefix(name, "if-") {
		return false
	}
	for _, n := range notInTrailers {
		if codec.EqualFold(name, n) {
			return false
		}
	}
	return true
}
