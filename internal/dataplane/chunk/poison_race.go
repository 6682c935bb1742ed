// SPDX-License-Identifier: Apache-2.0

//go:build race

package chunk

import "bytes"

var poisoned = bytes.Repeat([]byte{0xDB}, Size)

func poison(b []byte) { copy(b, poisoned) } // one access for the race detector, not one a byte
