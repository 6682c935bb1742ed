// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"strconv"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/format"
)

// View shows a head to templates. It holds no more than the pointer and allocates nothing.
func View(h *codec.Head) format.Fields { return (*view)(h) }

type view codec.Head

// Lookup implements format.Fields: the first field of that name.
func (w *view) Lookup(name string) (value []byte, ok bool) {
	h := (*codec.Head)(w)
	switch name {
	case ":method":
		return h.Method, len(h.Method) > 0
	case ":path":
		return h.Target, len(h.Target) > 0
	case ":authority", "host":
		return h.Authority, len(h.Authority) > 0
	case ":scheme":
		return Scheme(h), true
	case ":status":
		if h.Status < 100 || h.Status > 999 {
			return nil, false
		}
		return statuses[3*h.Status : 3*h.Status+3], true
	}
	return h.Lookup(name)
}

// Scheme is what :scheme is with Envoy: x-forwarded-proto, which is set before routing, if it is "http" or "https", and
// "http" otherwise, as our listeners are plain.
func Scheme(h *codec.Head) []byte {
	if v := h.Get(codec.ForwardedProto); len(v) == len(https) && codec.EqualFold(v, "https") {
		return https
	}
	return plain
}

var (
	https    = []byte("https")
	statuses [3000]byte // the digits of every status: a template writes to h.Buf while it looks things up
)

func init() {
	for i := 100; i < 1000; i++ {
		strconv.AppendInt(statuses[:3*i], int64(i), 10)
	}
}
