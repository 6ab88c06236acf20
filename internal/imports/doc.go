// Package imports keeps the house's one rule about rooms: dependencies point one
// way. It holds only a test.
package imports
