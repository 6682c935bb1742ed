// SPDX-License-Identifier: Apache-2.0

// Package strict asks a proxy what it makes of HTTP/1.1 at and beyond its edges: some hundred raw requests and answers,
// each with the section of the RFC that decides it and what may come of it. Behind the proxy stands an origin that keeps
// the very bytes it gets and holds them against a grammar of its own, which shares no code with any proxy.
package strict

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience is how long a peer may take for what it has to do.
const patience = 20 * time.Second

// Got is one request as the origin got it.
type Got struct {
	Head   string // up to and with the empty line
	Body   string // decoded
	Tail   string // trailer section, as it came
	Faulty string // why it is not HTTP/1.1; the connection was closed then
	Conn   int    // on which of the origin's connections it came
}

// Line is the request line.
func (g *Got) Line() string { l, _, _ := strings.Cut(g.Head, "\r\n"); return l }

// Field returns the values of a field, joined by "|".
func (g *Got) Field(name string) (string, bool) {
	var values []string
	for _, l := range strings.Split(g.Head, "\r\n")[1:] {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return strings.Join(values, "|"), len(values) > 0
}

// Origin is a server that answers every request with what it was told, and keeps what it got.
type Origin struct {
	Addr string

	l  net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	got    []Got
	open   map[net.Conn]bool
	conns  int           // there were so far
	told   int           // of these before the last Tell
	answer string        // raw; "" is a plain 200
	closes bool          // after the answer
	came   chan struct{} // holds something when got has grown
}

// Listen starts an origin on loopback.
func Listen() (*Origin, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &Origin{Addr: l.Addr().String(), l: l, open: map[net.Conn]bool{}, came: make(chan struct{}, 1)}
	o.wg.Go(o.accept)
	return o, nil
}

// Close ends the origin and its connections.
func (o *Origin) Close() {
	o.l.Close()
	o.hangUp()
	o.wg.Wait()
}

func (o *Origin) hangUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.open {
		c.Close()
	}
}

// Tell sets the raw answer to every request from now on, and forgets what was got.
func (o *Origin) Tell(answer string, closes bool) {
	o.hangUp() // what an earlier case left behind is not this one's
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.closes, o.got, o.told = answer, closes, nil, o.conns
}

// Got is what arrived since Tell.
func (o *Origin) Got() []Got {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Got(nil), o.got...)
}

// Next waits for the first request since Tell; false if none comes.
func (o *Origin) Next() (Got, bool) {
	late := time.After(patience)
	for {
		if got := o.Got(); len(got) > 0 {
			return got[0], true
		}
		select {
		case <-o.came:
		case <-late:
			return Got{}, false
		}
	}
}

func (o *Origin) accept() {
	for {
		c, err := o.l.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		o.open[c] = true
		o.conns++
		n := o.conns
		o.mu.Unlock()
		o.wg.Go(func() {
			o.serve(c, n)
			c.Close()
			o.mu.Lock()
			delete(o.open, c)
			o.mu.Unlock()
		})
	}
}

func (o *Origin) serve(c net.Conn, number int) {
	in := bufio.NewReader(c)
	for {
		g, err := read(in)
		g.Conn = number
		if err != nil && g.Head == "" {
			return
		}
		if err != nil {
			g.Faulty = err.Error()
		}
		o.mu.Lock()
		if number > o.told { // else it is an earlier case's, and only heard of now
			o.got = append(o.got, g)
		}
		answer, closes := o.answer, o.closes
		o.mu.Unlock()
		select {
		case o.came <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
		if answer == "" {
			answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-origin: strict\r\n\r\nok"
			if strings.HasPrefix(g.Head, "HEAD ") {
				answer = strings.TrimSuffix(answer, "ok")
			}
		}
		if _, err := io.WriteString(c, answer); err != nil || closes {
			return
		}
	}
}

// read reads one request and holds every byte against RFC 9112.
func read(in *bufio.Reader) (g Got, err error) {
	var head []byte
	for {
		line, err := in.ReadBytes('\n')
		head = append(head, line...)
		if err != nil {
			if len(head) == 0 {
				return g, err
			}
			g.Head = string(head)
			return g, fmt.Errorf("head cut off: %w", err)
		}
		if bytes.HasSuffix(head, []byte("\r\n\r\n")) || string(line) == "\n" {
			break
		}
	}
	g.Head = string(head)
	if err := wellFormed(g.Head); err != nil {
		return g, err
	}
	length, hasLength := g.Field("content-length")
	coding, chunked := g.Field("transfer-encoding")
	switch {
	case chunked && hasLength:
		return g, errors.New("content-length and transfer-encoding")
	case chunked && !strings.EqualFold(coding, "chunked"):
		return g, fmt.Errorf("transfer-encoding %q", coding)
	case chunked:
		g.Body, g.Tail, err = readChunks(in)
		return g, err
	case hasLength:
		n, err := strconv.ParseUint(length, 10, 31)
		if err != nil || strings.Trim(length, "0123456789") != "" {
			return g, fmt.Errorf("content-length %q", length)
		}
		body := make([]byte, n)
		m, err := io.ReadFull(in, body)
		g.Body = string(body[:m])
		return g, err
	}
	return g, nil
}

func wellFormed(head string) error {
	if strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\r") {
		return errors.New("bare CR or LF in the head")
	}
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	parts := strings.Split(lines[0], " ")
	if len(parts) != 3 || !token(parts[0]) || parts[1] == "" || parts[2] != "HTTP/1.1" {
		return fmt.Errorf("request line %q", lines[0])
	}
	for _, c := range []byte(parts[1]) {
		if c <= ' ' || c == 0x7f {
			return fmt.Errorf("byte %#x in the target", c)
		}
	}
	hosts := 0
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ":")
		if !ok || !token(name) {
			return fmt.Errorf("field %q", l)
		}
		for _, c := range []byte(value) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return fmt.Errorf("byte %#x in field %s", c, name)
			}
		}
		if strings.EqualFold(name, "host") {
			hosts++
		}
	}
	if hosts != 1 {
		return fmt.Errorf("%d Host fields", hosts)
	}
	return nil
}

func token(s string) bool {
	for _, c := range []byte(s) {
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func readChunks(in *bufio.Reader) (body, tail string, err error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return b.String(), "", fmt.Errorf("chunk size cut off: %w", err)
		}
		size, _, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil || strings.Trim(size, "0123456789abcdefABCDEF") != "" || !strings.HasSuffix(line, "\r\n") {
			return b.String(), "", fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			break
		}
		data := make([]byte, n+2)
		m, err := io.ReadFull(in, data)
		b.Write(data[:min(m, int(n))])
		if err != nil {
			return b.String(), "", fmt.Errorf("chunk of %d bytes cut off: %w", n, err)
		}
		if string(data[n:]) != "\r\n" {
			return b.String(), "", fmt.Errorf("chunk of %d bytes does not end with CRLF", n)
		}
	}
	var t strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return b.String(), t.String(), fmt.Errorf("trailers cut off: %w", err)
		}
		if line == "\r\n" {
			return b.String(), t.String(), nil
		}
		if name, _, ok := strings.Cut(line, ":"); !ok || !token(name) || !strings.HasSuffix(line, "\r\n") {
			return b.String(), t.String(), fmt.Errorf("trailer %q", line)
		}
		t.WriteString(line)
	}
}
