// SPDX-License-Identifier: Apache-2.0

package loop

// Task is a piece of work in the copies' part of a turn. It is embedded by its user, who calls Init once.
type Task struct {
	fn     func()
	next   *Task
	queued bool
}

// Init sets what is run. It may panic: that is contained.
func (t *Task) Init(fn func()) { *t = Task{fn: fn} }

// taskList is a FIFO of tasks.
type taskList struct {
	head, tail *Task
	n          int
}

func (l *taskList) push(t *Task) {
	if t.queued {
		return
	}
	t.queued = true
	if l.tail == nil {
		l.head = t
	} else {
		l.tail.next = t
	}
	l.tail = t
	l.n++
}

func (l *taskList) pop() *Task {
	t := l.head
	l.head, t.next, t.queued = t.next, nil, false
	if l.head == nil {
		l.tail = nil
	}
	l.n--
	return t
}

// lists hold the connections of one class that have something to be done: an event to be served, bytes to be written.
type lists struct {
	ready, dirty connList
}

// connList is a FIFO of connections, linked by the link of that kind in them. A connection is in it once.
type connList struct {
	head, tail *Conn
	n          int
}

// The links a connection has.
const (
	linkReady = iota
	linkDirty
)

func (l *connList) push(c *Conn, link int) {
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.next[link] = c
	}
	l.tail = c
	l.n++
}

func (l *connList) pop(link int) *Conn {
	c := l.head
	l.head, c.next[link] = c.next[link], nil
	if l.head == nil {
		l.tail = nil
	}
	l.n--
	return c
}
