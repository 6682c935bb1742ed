// SPDX-License-Identifier: Apache-2.0

package app

import "fmt"

// question is what is asked where, and since when: which layout was in force when it began, and when its connection did.
type question struct {
	port, host  int
	ill         bool
	from, since int64
}

// answer is what came of it.
type answer struct {
	status          int
	service, member int // who answered; -1: the proxy itself
	last            bool
	text            string
}

// judge counts an outcome, or tells why no layout gives it. Routes and members may be of two layouts: clusters change
// before the routes that lead there.
func (c *churn) judge(q question, a answer, err error) error {
	gone := func(l *layout) bool { return !l.ports[q.port] }
	of := func(holds func(*layout) bool) bool { return c.any(q.from, holds) }
	there := func(l *layout) bool { return l.services[a.service].hosts&(1<<a.member) != 0 }
	leads := func(l *layout) bool { return l.leads(q.port, q.host, a.service, a.member) }
	status := 200
	if q.ill {
		status = 500
	}
	count := &c.answered
	ok := false
	switch {
	case err != nil:
		ok, count = c.any(q.since, gone), &c.unserved
	case a.service >= 0:
		ok = (a.status == status || a.status == 101) && of(leads) && of(there)
	case a.status == 404:
		ok, count = of(func(l *layout) bool { return !l.serves(q.port, q.host) }), &c.notFound
	case a.status == 418:
		ok, count = of(func(l *layout) bool { return l.serves(q.port, q.host) && l.hosts[q.host].aborted }), &c.aborted
	case a.status == 503 && c.doomed(q):
		ok, count = true, &c.orphaned
	case a.status == 503 && a.last:
		// What a listener that is gone still has goes by its last routes, which may lead to what is gone too.
		ok, count = c.any(q.since, gone), &c.orphaned
	}
	if !ok {
		return fmt.Errorf("%+v has %+v, %s; now %d", q, a, fmt.Sprint(err), c.begun.Load())
	}
	count.Add(1)
	return nil
}

// doomed tells whether a request may find nobody: it was to be sent again, or later, and where it was led to died in the
// meantime, for new requests are led elsewhere.
func (c *churn) doomed(q question) bool {
	held := func(l *layout) bool {
		h := &l.hosts[q.host]
		return l.serves(q.port, q.host) && (h.delay > 0 || q.ill && h.retries > 0)
	}
	for s := range production {
		leads := func(l *layout) bool {
			h := &l.hosts[q.host]
			return l.serves(q.port, q.host) && (h.service == s || h.other-1 == s)
		}
		died := func(l *layout) bool { return l.services[s].kept && l.services[s].dead }
		if c.any(q.from, leads) && c.any(q.from, died) {
			return c.any(q.from, held)
		}
	}
	return false
}
