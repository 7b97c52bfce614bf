//go:build !race

package forward

const raced = false
