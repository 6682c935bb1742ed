// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ClientLimits bound what a client may send and how long it may take. Zero values are the defaults. The listeners tell
// them, also where they are Envoy's or Istio's: a reader of the dump looks for them.
type ClientLimits struct {
	HeadKiB    uint32        // a request's head, with its first line; 60, at most 8192
	HeadFields uint32        // 100
	Head       time.Duration // until a request's head is there; 10 s
	StreamIdle time.Duration // a request of which nothing moves; 5 min
	Idle       time.Duration // a connection without a request; a minute at gateways, an hour at a sidecar's listener

	// Buffer is what may be unsent on a connection before its other side is not read on, in bytes: clients' and upstreams'.
	// It is told only if it is set.
	Buffer uint32
}

const (
	gatewayIdle = time.Minute
	sidecarIdle = time.Hour
)

// buffer is per_connection_buffer_limit_bytes; nil: the data plane's own.
func (l ClientLimits) buffer() *wrapperspb.UInt32Value {
	if l.Buffer == 0 {
		return nil
	}
	return wrapperspb.UInt32(l.Buffer)
}

func (l ClientLimits) withDefaults(idle time.Duration) ClientLimits {
	return ClientLimits{
		HeadKiB: cmp.Or(l.HeadKiB, 60), HeadFields: cmp.Or(l.HeadFields, 100), Head: cmp.Or(l.Head, 10*time.Second),
		StreamIdle: cmp.Or(l.StreamIdle, 5*time.Minute), Idle: cmp.Or(l.Idle, idle), Buffer: l.Buffer,
	}
}
