// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
)

// Seen is what an origin counted since it was started.
type Seen struct {
	Requests int64 // whose head came, but for those to other paths than clients ask for
	Strange  int64 // the rest: nobody sent them
	Wrong    int64 // whose body came whole and was not what the client sent
}

// Origin answers every request with its own body in the framing that it came in, a GET with 1 KiB that its id decides.
type Origin struct{ requests, strange, wrong atomic.Int64 }

// Listen serves on addr from now on, until the process ends.
func (o *Origin) Listen(addr netip.AddrPort) error {
	l, err := net.Listen("tcp4", addr.String())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: o}
	go func() { _ = server.Serve(l) }() // it ends with the process
	return nil
}

// ServeHTTP is for net/http.
func (o *Origin) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path != "/isolation" {
		if q.URL.Path != StartPath {
			o.strange.Add(1)
		}
		return
	}
	o.requests.Add(1)
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // the client went away, and counts it
	}
	if !AsSent(q, body) {
		o.wrong.Add(1)
	}
	w.Header().Set(servedField, "production")
	w.Header().Set(idField, q.Header.Get(idField))
	if q.Method == http.MethodGet {
		id, _ := strconv.ParseUint(q.Header.Get(idField), 10, 64) // what is none is seen where the answer is read
		body = content(id, answers)
	}
	if q.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	half := len(body) / 2
	w.Write(body[:half])
	if q.ContentLength < 0 {
		_ = http.NewResponseController(w).Flush() // so that it is sent in chunks; who went away is counted by the client
	}
	w.Write(body[half:])
}

// Seen is what was counted so far.
func (o *Origin) Seen() Seen {
	return Seen{Requests: o.requests.Load(), Strange: o.strange.Load(), Wrong: o.wrong.Load()}
}

// StartPath is where to ask whether an origin, or a proxy before it, is there. It is not counted.
const StartPath = "/start"
