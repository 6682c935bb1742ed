// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Case is one thing that a client, or with Answer the origin, does.
type Case struct {
	Name string
	RFC  string // where it is decided
	Send string // the client's bytes
	// Half: the client ends its side after that.
	Half bool

	// Refuse lists the statuses with which the request may be refused; the origin must not get it then.
	Refuse []int
	// Pass: the request may reach the origin. With both, either is right.
	Pass bool
	// What the origin must get if it gets anything; empty is not looked at.
	Line, Body string
	Tail       string            // the trailer section; "-" is none
	Fields     map[string]string // by name; "-" is a field that must not be there
	Requests   int               // how many requests there are; 0: one
	// Open: the connection must stay open after the answer. Otherwise both are right, but after a refusal it must end.
	Open bool

	// Answer is what the origin says, raw; Close: and then ends the connection. Status is what the client must get.
	Answer string
	Close  bool
	Status []int
	Got    string // body that the client must get; "-" is none
	// Broken: the client must see that the answer is not whole.
	Broken bool
}

// Result is what came of a case.
type Result struct {
	Statuses []int
	Body     string
	Closed   bool
	Broken   bool
	Origin   []Got
	Faults   []string // none: as it should be
}

// Probe plays a case through the proxy at addr, which sends to o.
func Probe(addr string, o *Origin, c *Case) (r Result, err error) {
	o.Tell(c.Answer, c.Close)
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return r, err
	}
	// A proxy that refuses early may reset the connection while this is still being sent.
	_, sendErr := io.WriteString(conn, c.Send)
	if c.Half && sendErr == nil {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return r, err
		}
	}
	r.receive(conn, c)
	r.Origin = o.Got()
	c.judge(&r)
	return r, nil
}

// receive reads the answers to as many requests as there are, and then whether the connection ends.
func (r *Result) receive(conn net.Conn, c *Case) {
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(strings.TrimLeft(c.Send, "\r\n"), " ")
	for range max(c.Requests, 1) {
		last, more := r.answer(in, method)
		if !more {
			return
		}
		if last {
			break
		}
	}
	// A short look: whether it ends by itself.
	wait := 50 * time.Millisecond
	if len(r.Statuses) > 0 && r.Statuses[len(r.Statuses)-1] >= 400 && c.Answer == "" { // it has to, mostly
		wait = time.Second
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return
	}
	_, err := in.ReadByte()
	r.Closed = err != nil && !timedOut(err)
	if err == nil {
		r.Faults = append(r.Faults, "bytes after the last answer")
	}
}

// answer reads one answer, interim ones before it too. last: it says that it is the last one. more: it came whole, and
// the connection can be read on.
func (r *Result) answer(in *bufio.Reader, method string) (last, more bool) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			r.Closed = !timedOut(err)
			return false, false
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		r.Statuses = append(r.Statuses, resp.StatusCode)
		r.Body = string(body)
		if err != nil {
			r.Broken, r.Closed = true, true
			return false, false
		}
		return resp.Close, true
	}
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func (c *Case) judge(r *Result) {
	fault := func(format string, args ...any) { r.Faults = append(r.Faults, fmt.Sprintf(format, args...)) }
	for _, g := range r.Origin {
		if g.Faulty != "" && !(c.Half || len(c.Refuse) > 0) {
			fault("the origin got what is not HTTP/1.1: %s: %q", g.Faulty, g.Head)
		}
		if g.Faulty != "" && !strings.Contains(g.Faulty, "EOF") && !strings.Contains(g.Faulty, "reset") &&
			!strings.Contains(g.Faulty, "closed") {
			fault("the origin got what is malformed: %s: %q", g.Faulty, g.Head)
		}
	}
	if n := max(c.Requests, 1); len(r.Origin) > n {
		fault("the origin got %d requests, %d were sent: %+v", len(r.Origin), n, r.Origin)
	}
	if c.Answer != "" {
		c.judgeAnswer(r, fault)
		return
	}
	whole := slices.DeleteFunc(slices.Clone(r.Origin), func(g Got) bool { return g.Faulty != "" })
	last := 0
	if len(r.Statuses) > 0 {
		last = r.Statuses[len(r.Statuses)-1]
	}
	switch {
	case last >= 500 && !slices.Contains(c.Refuse, last):
		fault("a client's fault is answered %d", last)
	case last >= 400:
		if !slices.Contains(c.Refuse, last) {
			fault("answered %d, which is none of %v", last, c.Refuse)
		}
		if len(whole) >= max(c.Requests, 1) {
			fault("refused with %d, and the origin got it all the same", last)
		}
		if !r.Closed && last != 404 && last != 405 && last != 426 && last != 417 {
			fault("refused with %d, and the connection stays open", last)
		}
	case len(r.Statuses) == 0:
		if len(c.Refuse) == 0 {
			fault("no answer")
		} else if !r.Closed {
			fault("neither an answer nor the end of the connection")
		}
		if len(whole) > 0 && !c.Pass {
			fault("the origin got it")
		}
	default:
		if !c.Pass {
			fault("answered %d", last)
		} else if len(whole) == 0 {
			fault("answered %d, and the origin got nothing", last)
		}
		if len(r.Statuses) < c.Requests && !r.Closed {
			fault("%d answers to %d requests", len(r.Statuses), c.Requests)
		}
	}
	if len(whole) > 0 && c.Pass {
		c.judgeRequest(&whole[0], fault)
	}
	if c.Open && r.Closed {
		fault("the connection ended")
	}
}

func (c *Case) judgeRequest(g *Got, fault func(string, ...any)) {
	if c.Line != "" && g.Line() != c.Line {
		fault("the origin got %q, want %q", g.Line(), c.Line)
	}
	if g.Body != c.Body {
		fault("the origin got the body %.80q, want %.80q", g.Body, c.Body)
	}
	if c.Tail != "" && g.Tail != strings.TrimPrefix(c.Tail, "-") {
		fault("the origin got the trailers %q, want %q", g.Tail, c.Tail)
	}
	for name, want := range c.Fields {
		got, there := g.Field(name)
		switch {
		case want == "-" && there:
			fault("the origin got %s: %q", name, got)
		case want != "-" && got != want:
			fault("the origin got %s: %q, want %q", name, got, want)
		}
	}
}

func (c *Case) judgeAnswer(r *Result, fault func(string, ...any)) {
	switch {
	case len(r.Statuses) == 0 && !c.Broken:
		fault("no answer, want %v", c.Status)
	case len(r.Statuses) > 0 && !slices.Contains(c.Status, r.Statuses[0]):
		fault("answered %d, want %v", r.Statuses[0], c.Status)
	case c.Broken && len(r.Statuses) > 0 && !r.Broken && r.Statuses[0] < 500:
		fault("the answer looks whole: %q", r.Body)
	case !c.Broken && r.Broken:
		fault("the answer is cut off")
	}
	if c.Got == "-" && r.Body != "" || c.Got != "" && c.Got != "-" && r.Body != c.Got && r.Statuses != nil && r.Statuses[0] < 500 {
		fault("the client got %q, want %q", r.Body, c.Got)
	}
}
