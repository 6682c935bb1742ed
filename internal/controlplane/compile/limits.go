// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"time"
)

// ClientLimits bound what a client may send and how long it may take. Zero values are the defaults. The listeners tell
// them, also where they are Envoy's or Istio's: a reader of the dump looks for them.
type ClientLimits struct {
	HeadKiB    uint32        // a request's head, with its first line; 60, at most 8192
	HeadFields uint32        // 100
	Head       time.Duration // until a request's head is there; 10 s
	StreamIdle time.Duration // a request of which nothing moves; 5 min
	Idle       time.Duration // a connection without a request; a minute at gateways, an hour at a sidecar's listener
}

const (
	gatewayIdle = time.Minute
	sidecarIdle = time.Hour
)

func (l ClientLimits) withDefaults(idle time.Duration) ClientLimits {
	return ClientLimits{
		HeadKiB: cmp.Or(l.HeadKiB, 60), HeadFields: cmp.Or(l.HeadFields, 100), Head: cmp.Or(l.Head, 10*time.Second),
		StreamIdle: cmp.Or(l.StreamIdle, 5*time.Minute), Idle: cmp.Or(l.Idle, idle),
	}
}
