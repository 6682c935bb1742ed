// SPDX-License-Identifier: Apache-2.0

package format

import (
	"net/netip"
	"time"
)

// Values is what a template's operators take their text from. The caller fills what it knows; slices need to live only
// as long as the call. A nil, empty or invalid value is absent, and so is a negative number.
type Values struct {
	Request Fields // %REQ(X)%; nil: none
	Answer  Fields // %RESP(X)%; nil: none yet

	Start     time.Time     // of the request
	Duration  time.Duration // from Start until now
	Protocol  string        // of the client: HTTP/1.1
	RequestID []byte
	TraceID   []byte
	RouteName string

	Remote       netip.AddrPort // the client as told by x-forwarded-for, if that is trusted; else DirectRemote
	DirectRemote netip.AddrPort // the peer of the client's connection
	Local        netip.AddrPort // our end of it
	ConnectionID uint64         // 0: none

	Cluster       string         // %UPSTREAM_CLUSTER%
	Upstream      netip.AddrPort // the host of the current try
	UpstreamName  string         // its name, if it has one
	UpstreamLocal netip.AddrPort // our end of the connection to it
	Attempts      int            // %UPSTREAM_REQUEST_ATTEMPT_COUNT%

	Code          int    // of the answer; 0: none
	Flags         string // %RESPONSE_FLAGS%
	Details       string // %RESPONSE_CODE_DETAILS%
	BytesReceived int64  // of the request's body
	BytesSent     int64  // of the answer's body
}

// Fields looks a head's fields up. Names are in lower case; ":method", ":path", ":authority", ":scheme" and ":status"
// are the parts of the first line.
type Fields interface {
	Lookup(name string) (value []byte, ok bool)
}
