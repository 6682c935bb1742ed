// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
)

// asHog in a child's environment makes it one that takes memory: for each line of its input that many MiB more.
const asHog = "UMBRA_TEST_LIFE_HOG"

func hog() {
	var taken [][]byte
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		check(err)
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = 1
		}
		taken = append(taken, b)
		fmt.Fprintln(os.Stdout, len(taken))
	}
}
