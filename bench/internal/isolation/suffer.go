// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/umbra-mesh/umbra/bench/internal/faulty"
	"github.com/umbra-mesh/umbra/bench/internal/process"
	"github.com/umbra-mesh/umbra/bench/internal/traffic"
)

const (
	sampleEvery = 100 * time.Millisecond
	settleLimit = 20 * time.Second // for copies under way to end once the mirror is well: more than they may live
	backLimit   = 15 * time.Second // until copies arrive again
	askEvery    = 50 * time.Millisecond
	answerLimit = time.Minute // for what is done at once
)

// account is what Umbra says of its copies.
type account struct {
	Selected  int64            `json:"selected"`
	Delivered int64            `json:"delivered"`
	Dropped   map[string]int64 `json:"dropped"`
	InFlight  int64            `json:"in_flight"`
}

// unaccounted is the number of copies that are in no term; it is never anything but 0.
func (a account) unaccounted() int64 {
	n := a.Selected - a.Delivered - a.InFlight
	for _, dropped := range a.Dropped {
		n -= dropped
	}
	return n
}

// counts are those of everybody but the clients.
type counts struct {
	origin traffic.Seen
	mirror faulty.Seen
	copies account // zero for others than Umbra
}

// suffer runs production through p while the fault befalls the mirror, then waits until copies arrive again.
func (b *bench) suffer(ctx context.Context, p *proxy, f *faulty.Fault) (*row, error) {
	w := &row{fault: f, proxy: p.name}
	before, err := b.count(ctx, p, f.Name)
	if err != nil {
		return nil, err
	}
	most := p.watch()
	w.Result, err = b.traffic(ctx, p, b.cfg.Rate, b.cfg.Connections, b.cfg.Span)
	held, watched := most()
	if ended := p.child.Ended(); ended != nil {
		return nil, ended
	}
	if err != nil {
		return nil, err
	}
	if watched != nil {
		return nil, watched
	}
	w.grown, w.descriptors = held.Bytes-p.base.Bytes, held.Descriptors-p.base.Descriptors

	end, err := b.count(ctx, p, "")
	if err != nil {
		return nil, err
	}
	after, err := b.settle(ctx, p)
	if err != nil {
		return nil, err
	}
	w.copied, w.later = end.mirror.Whole-before.mirror.Whole, after.mirror.Whole-end.mirror.Whole
	w.dropped, w.live = map[string]int64{}, after.copies.InFlight
	for cause, n := range after.copies.Dropped {
		if n -= before.copies.Dropped[cause]; n > 0 {
			w.dropped[cause] = n
		}
	}
	w.unaccounted = after.copies.unaccounted()
	if p.name != Relay {
		if err := b.recover(ctx, p, w, after.mirror.Whole); err != nil {
			return nil, err
		}
	}
	if after, err = b.count(ctx, p, ""); err != nil {
		return nil, err
	}
	w.beyond = max(0, after.origin.Requests+after.origin.Strange-before.origin.Requests-before.origin.Strange-w.Sent)
	w.copiesWrong = after.mirror.Wrong - before.mirror.Wrong
	w.Wrong += after.origin.Wrong - before.origin.Wrong
	return w, nil
}

// settle ends the fault and waits for the end of the copies that are under way.
func (b *bench) settle(ctx context.Context, p *proxy) (counts, error) {
	c, err := b.count(ctx, p, healthy)
	for began := time.Now(); err == nil && c.copies.InFlight > 0; {
		if took := time.Since(began); took > settleLimit {
			fmt.Fprintf(b.cfg.Log, "%s: %d copies are live %s after the fault\n", p.name, c.copies.InFlight, took)
			break
		}
		if err = process.Pause(ctx, askEvery); err == nil {
			c, err = b.count(ctx, p, "")
		}
	}
	return c, err
}

// recover sends one request after the other until a copy arrives at the mirror, which is well again.
func (b *bench) recover(ctx context.Context, p *proxy, w *row, whole int64) error {
	for began := time.Now(); time.Since(began) < backLimit; {
		r, err := b.traffic(ctx, p, int(time.Second/askEvery), 1, askEvery)
		if err != nil {
			return err
		}
		w.Sent += r.Sent
		w.Failed += r.Failed
		w.Wrong += r.Wrong
		w.Told = append(w.Told, r.Told...)
		if err := process.Pause(ctx, askEvery); err != nil {
			return err
		}
		c, err := b.count(ctx, p, "")
		if err != nil {
			return err
		}
		if c.mirror.Whole > whole {
			w.back = time.Since(began)
			return nil
		}
	}
	w.lost = true
	return nil
}

// count asks everybody, the mirror last or, if it is to change, first.
func (b *bench) count(ctx context.Context, p *proxy, fault string) (counts, error) {
	var c counts
	if err := p.mirror.Ask(ctx, answerLimit, fault, &c.mirror); err != nil {
		return c, err
	}
	if err := p.origin.Ask(ctx, answerLimit, "", &c.origin); err != nil {
		return c, err
	}
	if p.name == Umbra && p.child != nil {
		var err error
		if c.copies, err = ask(ctx, p); err != nil {
			return c, err
		}
	}
	return c, p.mirror.Ask(ctx, answerLimit, "", &c.mirror)
}

func ask(ctx context.Context, p *proxy) (account, error) {
	body, err := process.Get(ctx, p.admin, "/mirrors")
	if err != nil {
		return account{}, err
	}
	var list []account
	if err := json.Unmarshal(body, &list); err != nil {
		return account{}, fmt.Errorf("mirrors of %s: %w", p.admin, err)
	}
	if len(list) != 1 {
		return account{}, fmt.Errorf("umbra has %d mirrors, want 1", len(list))
	}
	return list[0], nil
}

// watch looks at what the proxy holds from now on; the function it returns ends that and tells the most that was seen.
func (p *proxy) watch() func() (process.Holdings, error) {
	var most process.Holdings
	var err error
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			var h process.Holdings
			if h, err = process.Hold(p.ids); err != nil {
				return
			}
			most.Bytes, most.Descriptors = max(most.Bytes, h.Bytes), max(most.Descriptors, h.Descriptors)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	return func() (process.Holdings, error) {
		close(stop)
		wg.Wait()
		return most, err
	}
}
