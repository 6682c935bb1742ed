// SPDX-License-Identifier: Apache-2.0

package mirror

// Cause is why a copy was dropped. The list is closed; the first cause wins.
type Cause uint8

// The causes.
const (
	delivered      Cause = iota // not a drop
	dropConnect                 // no connection came about, or the target is backing off after that
	dropTLS                     // the handshake failed
	dropNoEndpoint              // the target's cluster has no host
	dropOverflow                // the target has its most copies in flight
	dropBuffer                  // the copy lagged further behind than it may
	dropMemory                  // the memory for copies is used up
	dropTimeout                 // no whole answer in time
	dropReset                   // the mirror closed or reset the connection before its final answer head
	dropStale                   // a reused connection turned out to be dead before an answer byte
	dropProtocol                // what the mirror answered is no HTTP
	dropFraming                 // the body's length is unknown and the mirror speaks HTTP/1.0
	dropPartial                 // production's request itself ended early
	dropRefused                 // production was answered without an upstream connection
	dropLoop                    // the request has passed too many mirrors
	dropConfig                  // the target's cluster is unknown
	dropOverload                // copies are shed to keep production going
	dropShutdown                // the process ended first
	dropPanic                   // mirror code failed
	causes
)

var causeNames = [causes]string{
	delivered: "delivered", dropConnect: "connect", dropTLS: "tls", dropNoEndpoint: "no_endpoint",
	dropOverflow: "overflow", dropBuffer: "buffer", dropMemory: "memory", dropTimeout: "timeout", dropReset: "reset",
	dropStale: "stale", dropProtocol: "protocol", dropFraming: "framing", dropPartial: "partial",
	dropRefused: "refused", dropLoop: "loop", dropConfig: "config", dropOverload: "overload",
	dropShutdown: "shutdown", dropPanic: "panic",
}

// String is the cause as metrics and logs write it.
func (c Cause) String() string { return causeNames[c] }
