package firewall

import (
	"errors"

	"golang.org/x/sys/unix"
)

// UnsupportedError says that the kernel lacks a part of nftables.
type UnsupportedError struct{ Err error }

func (e *UnsupportedError) Error() string {
	return e.Err.Error() + " (the kernel lacks a part of nftables)"
}

// Unwrap gives the kernel's error.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// Hint names the options and modules that the rules need.
func (e *UnsupportedError) Hint() string {
	return "the kernel needs NF_TABLES, NF_TABLES_INET, NF_TABLES_NETDEV, NFT_CT, NFT_NAT, NFT_MASQ, NFT_FIB_INET and NFT_REJECT_INET: " +
		"modprobe -a nf_tables nft_ct nft_chain_nat nft_nat nft_masq nft_fib_inet nft_reject_inet, and see poolctl checkconfig"
}

// IsUnsupported says whether err comes of a kernel without (a part of) nftables.
func IsUnsupported(err error) bool {
	var u *UnsupportedError
	return errors.As(err, &u)
}

// unsupported wraps err when it is one of those that a kernel without a part of
// nftables gives: EPROTONOSUPPORT for the socket (net/netlink/af_netlink.c),
// EINVAL for requests of a subsystem that is not there (nfnetlink_rcv_msg),
// EOPNOTSUPP for a family, and ENOENT for an expression or a type of chain whose
// module cannot be loaded (nft_expr_type_get, nf_tables_chain_type_lookup).
func unsupported(err error) error {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT} {
		if errors.Is(err, e) {
			return &UnsupportedError{err}
		}
	}
	return err
}

// ignoreUnsupported is for what is not there when the kernel lacks nftables.
func ignoreUnsupported(err error) error {
	if IsUnsupported(err) {
		return nil
	}
	return err
}
