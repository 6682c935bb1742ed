// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// reply writes the answer that was decided on.
func (f *far) reply(plan *plan, a *attempt, r *rand.Rand) {
	if f.p.Over() || f.now != a {
		return
	}
	switch {
	case a.switches:
		f.switchTo(plan, a, r)
		return
	case f.deed == switchWrongly: // to what was not asked for
		to := "websocket"
		if plan.upgraded {
			to = "other"
		}
		f.out = append(f.out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+to+"\r\n"+
			f.sign(plan, a)+"\r\n"...)
		f.write()
		return
	}
	head := fmt.Sprintf("HTTP/1.1 %d Status\r\n%s", a.status, f.sign(plan, a))
	b := body(a.key, a.size)
	close, untilClose := f.deed == answerAndClose, false
	switch r.IntN(5) {
	case 0, 1:
		head += "Content-Length: " + strconv.Itoa(len(b)) + "\r\n\r\n"
	case 2, 3:
		head += "Transfer-Encoding: chunked\r\n\r\n"
		b = chunked(b, 1+r.IntN(20000), r, "")
	default:
		head += "Connection: close\r\n\r\n"
		close, untilClose = true, true
	}
	if close && !untilClose {
		head = strings.TrimSuffix(head, "\r\n") + "Connection: close\r\n\r\n"
	}
	if plan.method == "HEAD" {
		b = nil
	}
	f.said = f.said || close
	all := append([]byte(head), b...)
	headLen := len(head)
	switch f.deed {
	case resetInAnswer, finInAnswer:
		cut := f.cut % len(all)
		f.out = append(f.out, all[:cut]...)
		a.final = cut >= headLen
		if untilClose && a.final && f.deed == finInAnswer { // nobody can tell that this is not all
			a.size = cut - headLen
		}
		f.closing, f.dropped = true, f.deed == resetInAnswer
	case answerTooMuch:
		if f.out = append(f.out, all...); untilClose {
			f.closing = true
			a.final, a.answered = true, true
			break
		}
		f.out = append(f.out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Unasked: 1\r\n\r\n"...)
		a.final, a.answered = true, true
	default:
		f.out = append(f.out, all...)
		a.final, a.answered = true, true
		f.closing = close
	}
	if a.whole {
		f.done()
	}
	f.write()
}

// sign is the fields that tell whose answer it is.
func (f *far) sign(plan *plan, a *attempt) string {
	s := fmt.Sprintf("X-Up: %s %s %d\r\n", f.origin.name, plan.id, a.nth)
	if a.copy {
		s += "X-Leak: mirror\r\n"
	}
	return s
}

// done ends the exchange at this end.
func (f *far) done() {
	f.now = nil
	if f.origin.style == wild && f.r.IntN(3) == 0 { // it is idle now, perhaps, and goes at a moment of its own
		heads := f.heads
		f.p.After(time.Duration(f.r.IntN(20))*time.Millisecond, func() {
			switch {
			case f.heads != heads:
			case len(f.out) > 0:
				f.p.Abort()
			default:
				f.p.Close()
			}
		})
	}
}

func (f *far) write() {
	for len(f.out) > 0 && !f.p.Over() {
		b := f.out
		if f.deed == answerSlowly && len(b) > 700 {
			b = b[:700]
		}
		n := f.p.Send(b)
		f.out = f.out[n:]
		if n < len(b) {
			return
		}
		if f.deed == answerSlowly && len(f.out) > 0 {
			f.p.After(2*time.Millisecond, f.write)
			return
		}
	}
	if len(f.out) == 0 && f.closing {
		f.closing = false
		if f.dropped {
			f.p.Abort()
		} else {
			f.p.After(time.Duration(f.r.IntN(20000))*time.Microsecond, f.p.CloseWrite)
		}
	}
}
