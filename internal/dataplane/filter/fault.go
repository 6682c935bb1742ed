// SPDX-License-Identifier: Apache-2.0

package filter

import "time"

// DelayFlag is the response flag of a request that was held back.
const DelayFlag = "DI"

// Holds returns how long a request that drew that number is held back, 0 if it is not. A nil Fault holds nothing.
func (f *Fault) Holds(draw uint64) time.Duration {
	if f == nil || !f.DelayShare.Selects(draw) {
		return 0
	}
	return f.Delay
}

// Aborts returns the answer to a request that drew that number, if it is ended here. The draw must not be the delay's:
// the two faults are independent. A nil Fault aborts nothing.
func (f *Fault) Aborts(draw uint64) (answer Local, ok bool) {
	if f == nil || !f.AbortShare.Selects(draw) {
		return answer, false
	}
	answer = Local{Status: f.AbortStatus, Body: "fault filter abort", Flag: "FI", Details: "fault_filter_abort"}
	switch {
	case f.AbortStatus != 0:
	case f.AbortGRPC >= 0:
		answer.Status, answer.HasGRPC, answer.GRPC = 200, true, f.AbortGRPC
	default:
		return Local{}, false
	}
	return answer, true
}
