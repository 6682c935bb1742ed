// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// Fault is one way to be ill, and what may become of copies that are sent to such a mirror.
type Fault struct {
	Name  string
	Port  Port
	Serve func(*Conn) // with Port Open

	Hangs     bool     // who waited for it would wait for long
	Delivered bool     // copies arrive and are answered all the same, those at least that no cause below befell
	Causes    []string // of drops that may occur; one must, unless Delivered
}

const (
	okay  = "HTTP/1.1 200 OK\r\nX-Served: mirror\r\nContent-Length: 2\r\n\r\nok"
	empty = "Content-Length: 0\r\n\r\n"

	hugeAnswer  = 256 << 20
	slowAnswer  = 150 * time.Millisecond
	slowReading = 64 // bytes each 10 ms
)

// Healthy is no fault.
var Healthy = Fault{Name: "healthy", Delivered: true, Serve: answers(okay)}

// Answer serves connections on which each request is read whole and gets what answer says, whatever that is.
func Answer(answer func(*http.Request) string) func(*Conn) {
	return func(c *Conn) {
		for {
			q, _, err := c.Request()
			if err != nil || c.Send(answer(q)) != nil {
				return
			}
		}
	}
}

// answers gives each request the same answer.
func answers(answer string) func(*Conn) { return Answer(func(*http.Request) string { return answer }) }

// once is answers for one request; then comes a FIN.
func once(answer string) func(*Conn) {
	return func(c *Conn) {
		if _, _, err := c.Request(); err == nil {
			_ = c.Send(answer) // then the FIN is what is seen
		}
	}
}

// endless begins an answer and never comes to its end.
func endless(first, piece string) func(*Conn) {
	return func(c *Conn) {
		if _, _, err := c.Request(); err != nil {
			return
		}
		err := c.Send(first)
		for err == nil {
			err = c.Send(piece)
		}
	}
}

// then reads a request whole, sends what is given and does the rest.
func then(send string, rest func(*Conn)) func(*Conn) {
	return func(c *Conn) {
		if _, _, err := c.Request(); err == nil && c.Send(send) == nil {
			rest(c)
		}
	}
}

func readSlowly(c *Conn) {
	buf := make([]byte, slowReading)
	for c.Pause(10 * time.Millisecond) {
		if _, err := io.ReadFull(c.in, buf); err != nil {
			return
		}
	}
}

func answerLate(c *Conn) {
	for {
		if _, _, err := c.Request(); err != nil || !c.Pause(slowAnswer) || c.Send(okay) != nil {
			return
		}
	}
}

func answerHuge(c *Conn) {
	for {
		if _, _, err := c.Request(); err != nil {
			return
		}
		piece := strings.Repeat("x", 64<<10)
		err := c.Send("HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n")
		for n := 0; n < hugeAnswer && err == nil; n += len(piece) {
			err = c.Send(piece)
		}
		if err != nil {
			return
		}
	}
}

// answerEarly refuses a request by its head, and does not read the rest.
func answerEarly(c *Conn) {
	if _, err := c.Head(); err == nil {
		_ = c.Send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n" + empty) // then the end is what is seen
	}
}

func halfClose(c *Conn) {
	if c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, c) // until the other side ends it
	}
}

// follow is an answer that sends who follows it to another server.
func follow(to string) func(*Conn) {
	return answers("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + to + "/again\r\n" + empty)
}

// Faults are all ways for a mirror to be ill that concern HTTP/1.1. production is the address that a redirecting mirror
// sends to.
func Faults(production string) []Fault {
	var (
		slow     = []string{"timeout", "buffer", "memory", "overflow"}
		flood    = []string{"timeout", "reset"} // the head of such an answer may come too late
		badHead  = []string{"protocol", "timeout"}
		protocol = []string{"protocol"}
		reset    = []string{"reset"}
		field    = "X-Bomb: " + strings.Repeat("b", 8000) + "\r\n"
		x64k     = strings.Repeat("x", 64<<10)
		switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
		both     = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
		cookies  = "HTTP/1.1 200 OK\r\nX-Served: mirror\r\nSet-Cookie: of=mirror\r\nAlt-Svc: h3=\":443\"\r\n" +
			"Strict-Transport-Security: max-age=1\r\n" + empty
	)
	return []Fault{
		{Name: "refuses connections", Port: Closed, Causes: []string{"connect"}},
		{Name: "answers no SYN", Port: Deaf, Hangs: true, Causes: []string{"connect", "overflow"}},
		{Name: "never reads", Serve: (*Conn).Hang, Hangs: true, Causes: slow},
		{Name: "reads slowly", Serve: readSlowly, Hangs: true, Causes: slow},
		{Name: "silent after the request", Serve: then("", (*Conn).Hang), Hangs: true, Causes: slow},
		{Name: "answers late", Serve: answerLate, Hangs: true, Delivered: true, Causes: []string{"timeout", "overflow"}},
		{Name: "resets on accept", Serve: (*Conn).Reset, Causes: []string{"reset", "connect"}},
		{Name: "resets after the head", Serve: func(c *Conn) {
			if _, err := c.Head(); err == nil {
				c.Reset()
			}
		}, Causes: reset},
		{Name: "ends after the request", Serve: once(""), Causes: reset},
		{Name: "ends its side at once", Serve: halfClose, Causes: reset},
		{Name: "resets in its answer's head", Serve: then("HTTP/1.1 200 OK\r\nContent-Le", (*Conn).Reset), Causes: reset},
		{
			Name:  "ends in its answer's body",
			Serve: once("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"), Delivered: true,
		},
		{Name: "answers 256 MiB", Serve: answerHuge, Delivered: true, Causes: flood},
		{
			Name: "never ends its answer", Serve: endless("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", x64k),
			Delivered: true, Causes: flood,
		},
		{
			Name: "never ends its chunks", Serve: endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
			Delivered: true, Causes: flood,
		},
		{
			Name: "stops in its answer", Serve: then("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", (*Conn).Hang),
			Hangs: true, Delivered: true, Causes: []string{"overflow"},
		},
		{Name: "never ends its head", Serve: endless("HTTP/1.1 200 OK\r\n", field), Causes: badHead},
		{Name: "never ends a field", Serve: endless("HTTP/1.1 200 OK\r\nX-Bomb: ", x64k), Causes: badHead},
		{Name: "never ends its 1xx", Serve: endless("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), Causes: badHead},
		{Name: "speaks no HTTP", Serve: once("\x16\x03\x01 is not HTTP\r\n\r\n"), Causes: protocol},
		{Name: "answers twice", Serve: answers(okay + okay), Delivered: true},
		{Name: "frames both ways", Serve: once(both), Causes: protocol},
		{
			Name:  "gives two lengths",
			Serve: once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"), Causes: protocol,
		},
		{
			Name:  "sends no chunk size",
			Serve: once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"), Delivered: true, Causes: protocol,
		},
		{Name: "switches protocols unasked", Serve: once(switched), Causes: protocol},
		{Name: "redirects to production", Serve: follow(production), Delivered: true},
		{Name: "sets cookies", Serve: answers(cookies), Delivered: true},
		{Name: "fails", Serve: answers("HTTP/1.1 500 Internal Server Error\r\n" + empty), Delivered: true},
		{Name: "refuses by the head", Serve: answerEarly, Delivered: true, Causes: reset},
		{Name: "speaks HTTP/1.0", Serve: once("HTTP/1.0 200 OK\r\n\r\nok"), Delivered: true, Causes: []string{"framing"}},
		{
			Name: "closes after each answer", Serve: once("HTTP/1.1 200 OK\r\nConnection: close\r\n" + empty), Delivered: true,
		},
		{
			Name: "closes without a word", Serve: once(okay), Delivered: true, Causes: []string{"stale", "reset"},
		},
	}
}
