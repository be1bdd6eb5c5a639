/* The functions of glibc that are answered by the pager: LP_REDIRECT("glibc's name", ours).
 *
 * The one table: redirect.c includes it for the objects that stay plain, and
 * layerpack/elf/redirected.py reads it for those that are packed. Names count as they stand, and only
 * where the object imports them from glibc (a version GLIBC_*) or asks for no version. Left out
 * are functions that glibc itself calls by these names, and those that take a mask for a program
 * that is only about to start (posix_spawnattr_setsigmask: masks.c sees to a mask that outlived
 * exec). */
LP_REDIRECT("__ppoll_chk", layerpack_ppoll_chk)
LP_REDIRECT("__sigaction", layerpack_sigaction)
LP_REDIRECT("__sigpause", layerpack_sigpause_either)
LP_REDIRECT("__sigsuspend", layerpack_sigsuspend)
LP_REDIRECT("__sysv_signal", layerpack_sysv_signal)
LP_REDIRECT("__xpg_sigpause", layerpack_xpg_sigpause)
LP_REDIRECT("bsd_signal", layerpack_bsd_signal)
LP_REDIRECT("epoll_pwait", layerpack_epoll_pwait)
LP_REDIRECT("epoll_pwait2", layerpack_epoll_pwait2)
LP_REDIRECT("ppoll", layerpack_ppoll)
LP_REDIRECT("pselect", layerpack_pselect)
LP_REDIRECT("pthread_attr_setsigmask_np", layerpack_pthread_attr_setsigmask_np)
LP_REDIRECT("pthread_sigmask", layerpack_pthread_sigmask)
LP_REDIRECT("setcontext", layerpack_setcontext)
LP_REDIRECT("sigaction", layerpack_sigaction)
LP_REDIRECT("sigaltstack", layerpack_sigaltstack)
LP_REDIRECT("sigblock", layerpack_sigblock)
LP_REDIRECT("siggetmask", layerpack_siggetmask)
LP_REDIRECT("sighold", layerpack_sighold)
LP_REDIRECT("sigignore", layerpack_sigignore)
LP_REDIRECT("siginterrupt", layerpack_siginterrupt)
LP_REDIRECT("signal", layerpack_signal)
LP_REDIRECT("sigpause", layerpack_sigpause)
LP_REDIRECT("sigprocmask", layerpack_sigprocmask)
LP_REDIRECT("sigrelse", layerpack_sigrelse)
LP_REDIRECT("sigset", layerpack_sigset)
LP_REDIRECT("sigsetmask", layerpack_sigsetmask)
LP_REDIRECT("sigsuspend", layerpack_sigsuspend)
LP_REDIRECT("ssignal", layerpack_ssignal)
LP_REDIRECT("swapcontext", layerpack_swapcontext)
LP_REDIRECT("sysv_signal", layerpack_sysv_signal)
