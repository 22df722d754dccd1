// Package ask puts questions to the user, each with its default, and asks again
// until the answer is one.
package ask
