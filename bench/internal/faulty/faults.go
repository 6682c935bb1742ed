// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Fault is one way to be ill. The first of Faults is health.
type Fault struct {
	Name  string // for flags
	Title string // for tables
	port  port
	serve func(*conn) // if the port is open
}

const (
	okay  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	empty = "Content-Length: 0\r\n\r\n"

	hugeAnswer = 256 << 20
	hugeHead   = 16 << 20
	late       = 3 * time.Second
)

// Faults are all there are, in the order they are told. production is where the one that redirects sends to.
func Faults(production netip.AddrPort) []Fault {
	elsewhere := "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + production.String() + "/isolation?id=0\r\n" + empty
	return []Fault{
		{Name: "healthy", Title: "healthy", serve: answers(okay)},
		{Name: "refused", Title: "refuses connections", port: closed},
		{Name: "blackhole", Title: "answers no SYN", port: deaf},
		{Name: "never-reads", Title: "accepts and never reads", serve: (*conn).hang},
		{Name: "silent", Title: "silent after the request", serve: then("", (*conn).hang)},
		{Name: "reads-slowly", Title: "reads 64 bytes each 10 ms", serve: readSlowly},
		{Name: "late", Title: "answers after 3 s", serve: answerLate},
		{Name: "rst-on-accept", Title: "RST on accept", serve: (*conn).reset},
		{
			Name: "rst-in-answer", Title: "RST in the answer",
			serve: then("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", (*conn).reset),
		},
		{Name: "huge-answers", Title: "answers of 256 MiB", serve: answerHuge},
		{Name: "endless-answer", Title: "an answer that never ends", serve: then("", answerForEver)},
		{Name: "huge-head", Title: "16 MB of head", serve: then("", sendHugeHead)},
		{Name: "endless-1xx", Title: "endless 1xx", serve: then("", func(c *conn) {
			early := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 25)
			for c.send(early) == nil {
				continue
			}
		})},
		{Name: "garbage", Title: "garbage", serve: once("\x16\x03\x01\x00 this is not HTTP\r\n\r\n")},
		{
			Name: "unasked-101", Title: "unasked 101",
			serve: then("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", (*conn).hang),
		},
		{Name: "two-answers", Title: "two answers", serve: answers(okay + okay)},
		{Name: "early-answer", Title: "an answer before the body", serve: answerEarly},
		{Name: "redirect", Title: "307 to production", serve: answers(elsewhere)},
		{Name: "fails", Title: "500s", serve: answers("HTTP/1.1 500 Internal Server Error\r\n" + empty)},
	}
}

// Pick reads a comma-separated list of names; "" is all.
func Pick(list string) ([]Fault, error) {
	all := Faults(netip.AddrPort{})
	if list == "" {
		return all, nil
	}
	var picked []Fault
	for name := range strings.SplitSeq(list, ",") {
		f := Named(all, name)
		if f == nil {
			names := make([]string, len(all))
			for i := range all {
				names[i] = all[i].Name
			}
			return nil, fmt.Errorf("unknown fault %q, want some of %s", name, strings.Join(names, ","))
		}
		picked = append(picked, *f)
	}
	return picked, nil
}

// Named is the one with that name, nil if there is none.
func Named(all []Fault, name string) *Fault {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

// answers reads whole requests and gives each the same answer, whatever that is.
func answers(answer string) func(*conn) {
	return func(c *conn) {
		for c.request() == nil && c.send(answer) == nil {
			continue
		}
	}
}

// then reads a request whole, sends what is given and does the rest.
func then(send string, rest func(*conn)) func(*conn) {
	return func(c *conn) {
		if c.request() == nil && c.send(send) == nil {
			rest(c)
		}
	}
}

// once is answers for one request; then comes a FIN.
func once(answer string) func(*conn) { return then(answer, func(*conn) {}) }

func readSlowly(c *conn) {
	buf := make([]byte, 64)
	for c.pause(10 * time.Millisecond) {
		if _, err := io.ReadFull(c.TCPConn, buf); err != nil {
			return
		}
	}
}

func answerLate(c *conn) {
	for c.request() == nil && c.pause(late) && c.send(okay) == nil {
		continue
	}
}

func answerHuge(c *conn) {
	piece := strings.Repeat("x", 256<<10)
	for c.request() == nil && c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", hugeAnswer)) == nil {
		for range hugeAnswer / len(piece) {
			if c.send(piece) != nil {
				return
			}
		}
	}
}

// answerForEver sends little, but does not stop.
func answerForEver(c *conn) {
	err := c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for err == nil && c.pause(10*time.Millisecond) {
		err = c.send("10\r\n0123456789abcdef\r\n")
	}
}

func sendHugeHead(c *conn) {
	field := "X-Bomb: " + strings.Repeat("b", 8000) + "\r\n"
	err := c.send("HTTP/1.1 200 OK\r\n")
	for n := 0; n < hugeHead && err == nil; n += len(field) {
		err = c.send(field)
	}
	if err == nil {
		_ = c.send(empty) // the connection ends in any case
	}
}

// answerEarly refuses a request by its head, and does not read the rest.
func answerEarly(c *conn) {
	if q, err := http.ReadRequest(c.in); err == nil {
		if q.Body == http.NoBody {
			c.count(q, nil) // there is no rest
		}
		_ = c.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n" + empty) // as above
	}
}
