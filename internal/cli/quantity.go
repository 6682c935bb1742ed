// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/umbra-mesh/umbra/internal/dataplane/pressure"
)

// quantity is a number of bytes, written as Kubernetes does: 48Mi, 1.5Gi, 64M, or plain.
type quantity int64

var units = []struct {
	suffix string
	bytes  float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"", 1},
}

// maxQuantity is where a number of bytes is a mistake.
const maxQuantity = 1 << 50

func (q *quantity) Set(s string) error {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || strings.ContainsAny(number, "xXpP_eE") {
			break
		}
		if v *= u.bytes; !(v >= 1 && v <= maxQuantity) { // also not a number
			return fmt.Errorf("%q is not between 1 and 1024Ti", s)
		}
		*q = quantity(v)
		return nil
	}
	return fmt.Errorf("%q is no number of bytes such as 48Mi or 50331648", s)
}

func (q *quantity) String() string {
	for _, u := range []string{"Gi", "Mi", "Ki"} {
		shift := map[string]int{"Gi": 30, "Mi": 20, "Ki": 10}[u]
		if *q != 0 && *q%(1<<shift) == 0 {
			return strconv.FormatInt(int64(*q)>>shift, 10) + u
		}
	}
	return strconv.FormatInt(int64(*q), 10)
}

func (*quantity) Type() string { return "BYTES" }

// mirrorMemory is the default bound on memory for copies: 48 MiB, less where the process itself may have little.
func mirrorMemory(root string) quantity {
	limit := quantity(48 << 20)
	if most := pressure.MemoryLimit(root); most > 0 {
		limit = min(limit, quantity(most/8))
	}
	return limit
}
