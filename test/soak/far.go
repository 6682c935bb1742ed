// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/umbra-mesh/umbra/test/faulty"
)

// far is what production and the mirror tell of themselves.
type far struct {
	Addr    string
	Served  int64 // requests read whole
	Refused int64 // of these, answered 503 so that they are tried again
	Strange int64 // requests that nobody sent
}

// manners are production's ways to be difficult, none of which a client may notice.
var manners = []string{"plain", "closes", "chunks", "late", "drips", "refuses at first"}

// retriable is the longest body that is certainly kept for a retry.
const retriable = 32 << 10

// runProduction answers each request with its own body, in the manner last told.
func runProduction(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var manner atomic.Pointer[string]
	manner.Store(&manners[0])
	var served, refused, strange atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return
		}
		n := served.Add(1)
		if q.URL.Path != path {
			strange.Add(1)
		}
		w.Header().Set("X-Served", "production")
		switch *manner.Load() {
		case "closes":
			if n%8 == 0 {
				w.Header().Set("Connection", "close")
			}
		case "late":
			wait(5 * time.Millisecond)
		case "chunks":
			for len(body) > 16<<10 {
				_, _ = w.Write(body[:16<<10]) // who goes away is counted where the answers are read
				_ = http.NewResponseController(w).Flush()
				body = body[16<<10:]
			}
		case "drips":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			for n := 0; n < 3 && len(body) > 0; n++ {
				_, _ = w.Write(body[:1]) // as above
				_ = http.NewResponseController(w).Flush()
				body = body[1:]
				wait(time.Millisecond)
			}
		case "refuses at first":
			if n%4 == 0 && q.Header.Get("X-Envoy-Attempt-Count") == "1" && len(body) <= retriable {
				refused.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		w.Write(body)
	})}
	defer func() { _ = server.Close() }() // it ends with the process at the latest
	go func() { _ = server.Serve(l) }()   // its end is the process's
	return obey(in, out, func(command string) (any, error) {
		for i := range manners {
			if manners[i] == command {
				manner.Store(&manners[i])
			}
		}
		return far{l.Addr().String(), served.Load(), refused.Load(), strange.Load()}, nil
	})
}

// wait is for servers that are late on purpose.
func wait(d time.Duration) { <-time.After(d) }

// runMirror suffers from the fault last told, which is given as "address of production|name".
func runMirror(in io.Reader, out io.Writer) error {
	var served, strange atomic.Int64
	s, err := faulty.Listen(func(q *http.Request, body []byte) {
		served.Add(1)
		if q.URL.Path != path || q.Header.Get("X-Length") != strconv.Itoa(len(body)) {
			strange.Add(1)
		}
	})
	if err != nil {
		return err
	}
	defer s.Close()
	return obey(in, out, func(command string) (any, error) {
		if production, name, ok := strings.Cut(command, "|"); ok {
			f, err := fault(production, name)
			if err != nil {
				return nil, err
			}
			if err := s.Suffer(f); err != nil {
				return nil, err
			}
		}
		return far{Addr: s.Addr(), Served: served.Load(), Strange: strange.Load()}, nil
	})
}

func fault(production, name string) (*faulty.Fault, error) {
	if name == faulty.Healthy.Name {
		return &faulty.Healthy, nil
	}
	for _, f := range faulty.Faults(production) {
		if f.Name == name {
			return &f, nil
		}
	}
	return nil, fmt.Errorf("no fault is named %q", name)
}
