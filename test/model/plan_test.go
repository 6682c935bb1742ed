// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// plan is one request as its client means it, and what came of it.
type plan struct {
	id, method, path string
	size             int
	key              uint64
	chunked          bool
	trailer          string
	expect           bool
	old              bool // HTTP/1.0
	good             bool // client, route and upstream are well: it must succeed
	upgrade          bool // asks for another protocol
	sends            int  // bytes in that protocol
	early            int  // of these, sent behind the request without an answer
	polite           bool // its end of the tunnel waits for the other end's end
	bytes            []byte
	headLen          int

	client   *client
	began    bool
	sent     int           // of bytes
	headAt   time.Duration // all of its head was sent
	entered  int           // the turn in which its worker took the last byte of its head; 0: not yet, or not known
	attempts []*attempt
	head     []string // of the first attempt, as production got it
	upgraded bool     // production was asked for the other protocol
	tunnel   *tunnel  // the client's end

	status  int
	up      string // X-Up of the answer
	got     int
	wrong   bool
	whole   bool
	broken  bool
	ended   bool
	at      time.Duration
	closing bool // the answer said that the connection ends
}

func (p *plan) fate() string {
	up := 0
	for _, a := range p.attempts {
		if a.tunnel != nil {
			up += a.tunnel.got
		}
	}
	return fmt.Sprintf("%s %s %s: status %d %q, %d bytes, whole %v, broken %v, at %v, %d bytes up", p.id, p.method, p.path,
		p.status, p.up, p.got, p.whole, p.broken, p.at, up)
}

var paths = []string{
	"/good", "/good", "/good", "/line", "/line", "/line", "/wild", "/wild", "/wild", "/wild", "/dead", "/late", "/none",
	"/judged", "/judged", "/judged", "/wave", "/wave", "/direct", "/nowhere", "/split", "/fault",
}

// sizes are those around which something changes.
var sizes = []int{0, 1, 100, 4095, 4096, 4097, 8192, 16383, 32767, 32768, 32769, 65535, 65536, 65537, 70000, 140000, 300000}

// newPlan draws a request. Only the last one of a connection may ask for another protocol.
func (m *model) newPlan(id string, r *rand.Rand, last bool) *plan {
	p := &plan{id: id, method: "GET", path: paths[r.IntN(len(paths))], key: r.Uint64()}
	if m.calm {
		p.path = []string{"/good", "/line", "/line", "/wave"}[r.IntN(4)]
	} else if m.focus != "" && r.IntN(4) > 0 {
		p.path = m.focus
	}
	switch r.IntN(5) {
	case 0:
		p.method = "HEAD"
	case 1:
		p.method = "PUT"
	case 2, 3:
		p.method = "POST"
	}
	version := "1.1"
	switch {
	case last && r.IntN(3) == 0:
		p.method, p.upgrade, p.polite = "GET", true, r.IntN(2) == 0
	case !m.calm && r.IntN(15) == 0:
		version, p.old = "1.0", true
	}
	head := p.method + " " + p.path + " HTTP/" + version + "\r\nHost: shop.example\r\nX-Id: " + id + "\r\n"
	switch {
	case p.upgrade:
		head += "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	case r.IntN(20) == 0: // what nobody relays
		head += "Connection: Upgrade\r\nUpgrade: h2c\r\n"
	}
	withBody := p.method == "POST" || p.method == "PUT"
	if withBody {
		p.size = m.someSize(r)
		p.expect = r.IntN(6) == 0 && version == "1.1"
		p.chunked = r.IntN(2) == 0 && version == "1.1"
		if p.expect {
			head += "Expect: 100-continue\r\n"
		}
	}
	b := body(p.key, p.size)
	switch {
	case p.chunked:
		head += "Transfer-Encoding: chunked\r\n\r\n"
		trailers := ""
		if r.IntN(3) == 0 {
			trailers, p.trailer = "X-T: v\r\n", "X-T: v\n"
		}
		b = chunked(b, 1+r.IntN(30000), r, trailers)
	case withBody:
		head += "Content-Length: " + strconv.Itoa(p.size) + "\r\n\r\n"
	default:
		head += "\r\n"
	}
	if p.upgrade {
		p.sends = m.someSize(r)
		if r.IntN(3) == 0 {
			p.early = min(p.sends, r.IntN(20000))
		}
		b = body(p.key, p.early)
	} else if !m.calm && r.IntN(30) == 0 {
		p.path = "/malformed"
		head = head[:len(head)-2] + []string{"No colon\r\n", "A : b\r\n", " folded\r\n", "A: \x00\r\n"}[r.IntN(4)] + "\r\n"
	}
	p.headLen = len(head)
	p.bytes = append([]byte(head), b...)
	m.plans[id] = p
	m.order = append(m.order, p)
	return p
}

// someSize is a size around which something changes, or a small one.
func (m *model) someSize(r *rand.Rand) int {
	n := sizes[r.IntN(len(sizes))]
	if r.IntN(2) == 0 {
		n = r.IntN(2000)
	}
	return n
}
